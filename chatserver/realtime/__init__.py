"""Chat on sockets.

`namespace` (a client's event to a service) and `publisher` (a service's event to rooms).
`raw` is another transport to the namespace, the raw websocket; its clients are `raw_clients`,
and what they say and hear `raw_frames`.
"""
