"""Align a photo: find the head and frame it."""
