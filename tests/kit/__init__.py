"""Fixtures that tests of several places share: real servers, clients and their control."""
