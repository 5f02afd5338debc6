"""The benchmarks measure ratios: both sides run side by side on one machine. `python -m benchmarks
--help` lists the options of the first of them.
"""
