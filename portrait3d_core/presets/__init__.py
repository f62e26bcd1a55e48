"""Named sets of settings for every stage."""
