"""What moves a portrait: the one loop, optimisers, and losses between pictures."""
