"""Refine a portrait with edited views."""
