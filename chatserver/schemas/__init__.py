"""The shapes of the wire, shared by both edges: what is taken, and what is answered.

`requests` loads what clients send, `objects` and `events` describe and dump what
they get. The OpenAPI document is generated from them.
"""
