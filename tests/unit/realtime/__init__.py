"""Tests of chatserver.realtime."""
