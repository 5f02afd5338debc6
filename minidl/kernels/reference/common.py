"""The one thing that twins share."""


def into(out, value):
    """`value`, or `out` filled with it."""
    if out is None:
        return value
    out[...] = value
    return out
