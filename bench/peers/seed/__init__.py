"""The peer `seed`: the design that the project began from, with FastAPI and raw websockets."""
