"""What metrics a node has, read from its registry."""

from chatserver.metrics import Metrics


def metric_names(metrics: Metrics) -> set[str]:
    return {collector.name for collector in metrics._registry.get_all()}


def counted_labels(metrics: Metrics) -> dict[str, set[str]]:
    """The labels of each metric that is counted as things happen, not set at a scrape."""
    return {tally._collector.name: set(tally._labels) for tally in metrics._tallies}
