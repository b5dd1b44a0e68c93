"""The REST edge, tested."""
