"""Engine.IO 4 on aiohttp, which knows nothing about chat nor about Socket.IO.

`opening_handshake` (of a websocket), `websocket` (an open one) and `polling` are the two
`transports`; `frames` (what a websocket's client sends), `probes` (before an upgrade),
`session` (one connection), `server` (all of them, and the endpoint), `protocol` (the
constants), `responses` (HTTP), `refusals` (what is refused, for operators), `bodies` (of
polling requests), `clock` and `observers` (what can be counted).
"""
