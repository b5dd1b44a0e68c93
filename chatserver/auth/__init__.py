"""Tokens: who calls, by which key."""
