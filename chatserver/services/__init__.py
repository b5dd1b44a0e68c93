"""Operations of the server: one method for each, whichever edge it came through.

A service takes plain values and a `Principal`, authorises, opens one transaction,
calls repositories, and publishes events after the commit.
"""
