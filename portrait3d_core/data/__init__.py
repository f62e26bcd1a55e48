"""Where training pictures come from: the contract of a world of heads, and the worlds."""
