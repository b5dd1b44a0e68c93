"""Other servers that do the same job; each is a process of its own."""
