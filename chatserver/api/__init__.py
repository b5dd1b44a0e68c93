"""The REST edge: `table` has every route, `setup_api` puts it into an application."""

from chatserver.api.calls import ApiServices
from chatserver.api.setup import setup_api

__all__ = ["ApiServices", "setup_api"]
