"""What is looked up at each scrape: how a node's parts stand, put into its metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chatserver.app import Node


def collect_gauges(node: Node) -> None:
    metrics = node.metrics
    metrics.pool(node.settings.database.pool_size, node.requests.connections_in_use())
    ready = node.readiness.known
    parts = {part: getattr(ready, part) for part in ("database", "migrations", "backplane")}
    metrics.readiness(parts, is_draining=ready.draining)
    metrics.publish_queue(len(node.publisher))
    metrics.revocations(len(node.revocations), node.revocations.age)
    if (bus := node.backplane.bus) is not None:
        received = {**bus.received, "not_obeyed": getattr(node.rooms, "external_refused", 0)}
        metrics.bus_state(
            is_heard=bus.is_heard,
            lost=bus.lost,
            unconfirmed=len(bus),
            dropped=bus.dropped,
            others=bus.others,
            published=bus.published,
            received=received,
            disordered=bus.disordered,
            are_signatures_required=node.backplane.signatures.is_required,
        )
