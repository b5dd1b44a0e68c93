"""The REST edge: `routes` is its table, `setup_api` puts it into an application."""

from chatserver.api.calls import ApiServices
from chatserver.api.setup import setup_api

__all__ = ["ApiServices", "setup_api"]
