"""Where a head is seen from."""
