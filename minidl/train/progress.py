"""A trainer's output on stderr: a progress bar if it is a terminal, and a line for each epoch."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterable
from typing import Any


def bar(
    batches: Iterable[Any],
    total: int | None,
    done: int,
    title: str,
    figures: Callable[[], str],
    wanted: bool,
) -> Generator[Any]:
    """Yield the batches of an epoch, and show a progress bar with figures on a terminal."""
    if not (wanted and sys.stderr.isatty()):
        yield from batches
        return
    from tqdm import tqdm  # imported here to keep `import minidl` fast

    with tqdm(
        batches,
        desc=title,
        total=total,
        initial=done,
        unit=" batches",
        leave=False,
        file=sys.stderr,
    ) as shown:
        for batch in shown:
            yield batch
            shown.set_postfix_str(figures(), refresh=False)


def line(history: dict[str, list[float]], epoch: int, epochs: int) -> str:
    """Format an epoch's figures: epoch 3/10  loss 0.1234  accuracy 0.9567  lr 0.1  12.3 s."""
    parts = [f"epoch {epoch:>{len(str(epochs))}}/{epochs}"]
    for name, column in history.items():
        if name not in ("lr", "seconds"):
            parts.append(f"{name} {column[-1]:.4f}")
    parts += [f"lr {history['lr'][-1]:.3g}", f"{history['seconds'][-1]:.1f} s"]
    return "  ".join(parts)


def say(text: str, wanted: bool = True) -> None:
    """Print a line on stderr if it is wanted."""
    if wanted:
        print(text, file=sys.stderr, flush=True)
