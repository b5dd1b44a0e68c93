"""Socket.IO 5 on Engine.IO, for the namespace "/"; it knows nothing about chat.

`packets` (on the wire), `client` (one of them), `adapter` (who receives what; of many nodes
`cluster_adapter`), `server` (the whole, for an `Application`) and its `drain`.
"""
