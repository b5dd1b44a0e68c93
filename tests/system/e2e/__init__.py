"""From end to end: real processes, real sockets, and the client that front ends use."""
