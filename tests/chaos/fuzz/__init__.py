"""Random frames and requests against a real node, beside people who chat."""
