"""The body model behind a portrait's pose: its arrays, the search for the nearest triangle, and the warp between poses."""
