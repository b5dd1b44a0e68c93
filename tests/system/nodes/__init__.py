"""Several nodes as one: what a person on one of them sees of the others."""
