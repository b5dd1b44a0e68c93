"""What the server does: one method for each operation, whichever door it came through.

A service takes plain values and a `Principal`, authorises, opens one transaction,
calls repositories, and publishes events after the commit.
"""
