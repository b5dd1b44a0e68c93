"""Runs the peer `seed` on uvicorn."""

import os

import uvicorn

from bench.peers.seed.endpoints import create_app

uvicorn.run(
    create_app(os.environ["DATABASE_URL"], os.environ["JWT_SECRET"], int(os.environ["POOL_SIZE"])),
    host="127.0.0.1",
    port=int(os.environ["PORT"]),
    backlog=4096,
    log_level="warning",
    access_log=False,
)
