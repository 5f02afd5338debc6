"""Fuzzers: random cases that look for crashes, hangs, eaten memory and wrong numbers.

    python -m fuzz                              all fuzzers, a minute each, two at a time
    python -m fuzz kernels --minutes 60         one of them, for longer
    python -m fuzz kernels --seed 3 --case 17   one case again
    python -m fuzz corpus                       the cases that once found something

Five fuzzers: `kernels` (native kernels against their NumPy twins), `calls` (public functions and
layers with absurd arguments), `files` (damaged data files and model files), `networks` (random
networks, fused and not, against float64) and `onnx` (ONNX files, in order and damaged).

A case is data (numbers, strings, lists and dicts, as JSON has them), made from (fuzzer, seed,
number) alone and run in a process of its own. A module of a fuzzer has `make(draw)`, which makes a
case, and `run(case, watch)`, which runs it and raises `Fault` for what should not be. How it is
used, and what becomes of a finding: docs/testing.md.
"""
