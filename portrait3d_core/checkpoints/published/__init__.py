"""The published weight files, read without executing anything that is in them."""
