"""What `chatserver dev` and the tests need beside the server; production never imports it."""
