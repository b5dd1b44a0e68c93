"""Gauges read at each scrape: the state of a node's parts, put into its metrics."""

from collections.abc import Sized
from dataclasses import dataclass

from chatserver.backplane.backplanes import Backplane
from chatserver.db.engine import Database
from chatserver.realtime.python_socketio import Manager
from chatserver.services.readiness import Readiness
from chatserver.services.revocations import RevocationService
from chatserver.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Gauges:
    """The parts of a node that are looked at. `requests` has `pool_size` connections."""

    requests: Database
    pool_size: int
    readiness: Readiness
    published: Sized
    revocations: RevocationService
    backplane: Backplane
    manager: Manager

    def collect(self, metrics: Metrics) -> None:
        metrics.pool(self.pool_size, self.requests.connections_in_use())
        ready = self.readiness.known
        parts = {part: getattr(ready, part) for part in ("database", "migrations", "backplane")}
        metrics.readiness(parts, is_draining=ready.draining)
        metrics.publish_queue(len(self.published))
        metrics.revocations(len(self.revocations), self.revocations.age)
        if (bus := self.backplane.bus) is not None:
            received = {**bus.received, "not_obeyed": self.manager.external_refused}
            metrics.bus_state(
                is_receiving=bus.is_receiving,
                lost=bus.lost,
                unconfirmed=len(bus),
                dropped=bus.dropped,
                others=bus.others,
                published=bus.published,
                received=received,
                disordered=bus.disordered,
                are_signatures_required=self.backplane.signatures.is_required,
            )
