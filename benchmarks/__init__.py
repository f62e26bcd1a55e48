"""What this project costs: ``python -m benchmarks`` and the more special measurements beside it."""
