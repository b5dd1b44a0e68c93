"""Tests of the benchmark with what `make setup` installs; its figures are no test."""
