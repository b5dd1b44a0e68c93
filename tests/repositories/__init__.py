"""Tests of chatserver/repositories."""
