"""Tests of chatserver/backplane."""
