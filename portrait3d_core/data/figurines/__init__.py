"""Figurines: a procedural world of toy-like busts."""
