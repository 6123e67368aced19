"""Ways of telling who asks."""
