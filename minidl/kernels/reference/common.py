"""What twins share."""


def into(out, value):
    """`value`, or `out` filled with it."""
    if out is None:
        return value
    out[...] = value
    return out


def floats(*options):
    """Options as Python's floats, as the native kernels take them: NumPy's scalars would have a say
    in dtypes, and 1 - 2 of its small integers is 255."""
    return tuple([float(option) for option in options])
