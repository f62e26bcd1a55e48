"""Invert photos of one person into a generator."""
