"""Connections and requests of both edges: their bounds, addresses and origins."""
