"""Tests of `chatserver.schemas`."""
