"""The chat server that rental marketplaces put beside their own application."""
