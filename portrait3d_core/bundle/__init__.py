"""The shipped weights, with checksums."""
