"""The TypeScript client, as far as the server's tests look at it."""
