"""The embedded toy bundle: procedural heads and the small networks trained on them."""
