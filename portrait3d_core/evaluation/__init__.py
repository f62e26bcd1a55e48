"""What is measured against exact truth, as commands."""
