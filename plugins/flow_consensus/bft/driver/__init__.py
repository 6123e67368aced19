"""The engine under trio, over a storage and a transport."""
