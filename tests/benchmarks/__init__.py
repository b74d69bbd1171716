"""Speed, side by side in one process with what a user would use instead: `python -m tests.benchmarks`."""
