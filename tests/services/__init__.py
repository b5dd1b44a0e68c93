"""The services, tested."""
