"""The Socket.IO edge.

What knows nothing about chat, from the wire upwards: `frames` (websocket frames on their
way in), `driver` (a websocket), `probes` (before an upgrade),
`protocol` (Engine.IO's constants), `answers` (HTTP answers), `refusals` (what is refused,
for operators), `bodies` (of polling requests), `polls` (of one session), `sockets` (one
Engine.IO connection), `engine` (all of them, and the endpoint), `packets` (Socket.IO on the
wire), `peers` (one Socket.IO client), `rooms` (who receives what), `server` (the whole
as python-socketio knows it) and `observers` (what can be counted).

What does: `namespace` (a client's event to a service) and `publisher` (a service's
event to rooms). `raw` is another door to the namespace, the raw websocket; its clients
are `raw_clients`, and what they say and hear `raw_frames`.
"""
