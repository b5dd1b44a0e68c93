"""State that nodes share: presence leases and rate limits. With one node, its memory."""
