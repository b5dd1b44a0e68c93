"""Socket.IO 5 on Engine.IO.

`packets` (on the wire), `client` (one of them), `adapter` (who receives what; of many nodes
`cluster_adapter`), `server` (the whole as python-socketio knows it) and its `drain`.
"""
