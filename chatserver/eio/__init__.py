"""Engine.IO 4 on aiohttp, which knows nothing about chat.

`frames` (websocket frames on their way in), `websocket`, `probes` (before an upgrade),
`protocol` (the constants), `responses` (HTTP), `refusals` (what is refused, for operators),
`bodies` (of polling requests), `polling` (the polls of one session), `session` (one
connection), `server` (all of them, and the endpoint) and `observers` (what can be counted).
"""
