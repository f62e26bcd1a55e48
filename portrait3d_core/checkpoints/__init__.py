"""Weight files of generators."""
