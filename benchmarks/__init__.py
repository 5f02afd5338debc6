"""Benchmarks: ratios measured side by side on one machine. `python -m benchmarks --help`."""
