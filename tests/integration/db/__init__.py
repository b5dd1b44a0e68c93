"""Tests of chatserver/db and of the migrations."""
