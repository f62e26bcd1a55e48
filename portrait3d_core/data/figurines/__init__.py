"""Figurines: a procedural world of busts, smooth and plain as vinyl."""
