"""The normalization lab: what is said of batch normalization, as experiments that can fail.

`minidl lab run all` tries every claim, `minidl lab report` shows what came out. A `Probe` measures
the same of a model of one's own while it trains, and `compare` a choice of normalizations on one's
own data.
"""
