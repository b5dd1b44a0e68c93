"""Servers that `chatserver dev` and the tests start; production never imports them."""
