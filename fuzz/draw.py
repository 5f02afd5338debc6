"""Random choices, and the values that cases are made of.

A case describes an array and does not store it: {"array": shape, "dtype": ..., "values": ...,
"memory": ..., "seed": ...}. Other values that JSON cannot express are dicts with one special key as
well. `fuzz.values` turns descriptions into values.
"""

import random
from typing import Any

Value = Any  # a value that JSON can express

FLOATS = ("float32", "float32", "float64")
# fmt: off
# These numbers are read in rows, so `ruff format` leaves them: it would put one on each line.
# Sizes around the blocks and vectors that kernels work in.
SIZES = (
    0, 1, 1, 2, 2, 3, 3, 4, 5, 6, 7, 8, 9, 12, 13, 15, 16, 17, 24, 31, 32, 33, 48, 63, 64, 65, 96,
    100, 127, 128, 129, 200, 255, 256, 257, 500, 512, 513, 1000, 1023, 1024, 1025, 4099,
)
ABSURD_NUMBERS = (
    -1, 0, -2, 2**15, 2**31 - 1, 2**31, 2**32, 2**32 + 1, 2**46, 2**62, 2**63 - 1, 2**63, 2**64,
    2**70, -(2**31), -(2**63), -(2**70),
)
# fmt: on

PLAIN_VALUES = ("normal", "uniform", "whole", "offset")
WILD_VALUES = ("special", "tiny", "huge", "denormal", "zeros", "equal", "mixed")
MEMORY = (
    "strided",
    "reversed",
    "fortran",
    "unaligned",
    "readonly",
    "bigendian",
    "broadcast",
    "shifted",
    "subclass",
)

ABSURD_OTHERS = (
    None,
    "a",
    "",
    "same",
    True,
    False,
    0.5,
    1e308,
    -1e-320,
    [],
    [1],
    [[1], [2, 3]],
    {},
    {"number": "nan"},
    {"number": "inf"},
    {"number": "-inf"},
    {"tuple": []},
    {"tuple": [1, -1]},
    {"tuple": [2**31, 2**31]},
    {"tuple": [1, 1, 1]},
    {"object": 0},
    {"complex": 1},
    {"bytes": "ab"},
    {"scalar": "float32", "value": 2.5},
    {"scalar": "int64", "value": 3},
    {"scalar": "uint8", "value": 200},
    {"slice": [None, None, 2]},
    {"dict": {"a": 1}},
    {"set": [1]},
    {"foreign": [1.0, 2.0]},
)


class Draw:
    """A source of random choices that depend on a key alone."""

    def __init__(self, *key: Any) -> None:
        self.random = random.Random(":".join(map(str, key)))

    def pick(self, *options: Any) -> Any:
        """Return one of the options."""
        return self.random.choice(options)

    def chance(self, share: float) -> bool:
        """Return True in this share of cases."""
        return self.random.random() < share

    def integer(self, low: int, high: int) -> int:
        """Return an integer from low to high, both included."""
        return self.random.randint(low, high)

    def size(self, most: int, least: int = 0) -> int:
        """Return the length of an axis."""
        return self.random.choice([n for n in SIZES if least <= n <= most] or [least])

    def shape(self, axes: int, elements: int = 4000, least: int = 0) -> list[int]:
        """Return a shape with so many axes and at most about so many elements. It rarely has a
        0.
        """
        shape: list[int] = []
        room = elements
        for _ in range(axes):
            low = 0 if least == 0 and self.chance(0.04) else max(1, least)
            shape.append(self.size(max(room, 1), low))
            room //= max(shape[-1], 1)
        self.random.shuffle(shape)
        return shape

    def values(self) -> str:
        """Return the name of a distribution, mostly a plain one."""
        return self.pick(*WILD_VALUES) if self.chance(0.25) else self.pick(*PLAIN_VALUES)

    def array(
        self, shape: list[int], dtype: str = "float32", values: str = "normal", **more: Value
    ) -> dict[str, Value]:
        """Return the description of an array."""
        return {
            "array": list(shape),
            "dtype": dtype,
            "values": values,
            "seed": self.integer(0, 9999),
            **more,
        }

    def absurd(self) -> Value:
        """Return a number that is hardly ever right, or something that is not a number."""
        return self.pick(*ABSURD_NUMBERS) if self.chance(0.6) else self.pick(*ABSURD_OTHERS)
