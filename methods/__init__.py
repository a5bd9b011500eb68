"""How a network is trained: one file a method."""
