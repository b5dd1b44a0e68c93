"""Drivers that the tests run in Python processes of their own."""
