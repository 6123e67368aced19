"""Embedders: vectors for texts, so that texts that mean alike are near."""
