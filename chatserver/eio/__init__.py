"""Engine.IO 4 on aiohttp, which knows nothing about chat.

`opening_handshake` (of a websocket), `websocket` (an open one), `frames` (what its client
sends), `probes` (before an upgrade),
`protocol` (the constants), `responses` (HTTP), `refusals` (what is refused, for operators),
`bodies` (of polling requests), `polling` (the polls of one session), `session` (one
connection), `server` (all of them, and the endpoint) and `observers` (what can be counted).
"""
