"""Guards: what lets a request pass, or refuses it, and learns what came of it."""
