"""Tests of `chatserver.dev`."""
