"""Gates: which experts fit a request in words, from what they say of themselves and from how it went."""
