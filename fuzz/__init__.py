"""The fuzzers run random cases to find crashes, hangs, excessive use of memory and wrong numbers.

    python -m fuzz                              all fuzzers, a minute each, two at a time
    python -m fuzz kernels --minutes 60         one of them, for longer
    python -m fuzz kernels --seed 3 --case 17   one case again
    python -m fuzz corpus                       the cases that once found something

There are five fuzzers: `kernels` (native kernels beside their NumPy twins), `calls` (public
functions and layers with absurd arguments), `files` (damaged data files and model files),
`networks` (random networks, fused and not, beside float64) and `onnx` (ONNX files, valid and
damaged).

A case is data (numbers, strings, lists and dicts, as JSON has them). It is made from (fuzzer, seed,
number) alone and runs in a process of its own. The module of a fuzzer has `make(draw)`, which makes
a case, and `run(case, watch)`, which runs it and raises `Fault` for whatever is wrong.
docs/testing.md says how the fuzzers are used and what becomes of a finding.
"""
