"""What a recipe says of a network: its input, and a step for each layer. Nothing here needs torch.

The first entry is the input: a number of activations, or a picture such as ``"28x28"``. Each of the
others is a layer: a number of outputs, for a fully connected one; ``"conv 5x5 20"``, with the
kernel and the channels that it puts out; ``"conv 3x3 20 same"``, padded so that the map stays as
large as it is; ``"max 2x2"`` or ``"average 2x2"``, for windows that lie side by side.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from golden.layers import MAX_SIDE, Shape

__all__ = ["Step", "input_shape", "is_entry", "steps"]

_INPUT = re.compile(r"([1-9]\d{0,3})x([1-9]\d{0,3})")
_STEP = re.compile(r"(conv|max|average) ([1-9]\d{0,2})x([1-9]\d{0,2})(?: ([1-9]\d{0,6})( same)?)?")


@dataclass(frozen=True)
class Step:
    """A layer.

    Attributes
    ----------
    name : str
        Its kind, and its number among those of its kind: ``"conv1"``.
    kind : str
        ``"conv"``, ``"max"``, ``"average"`` or ``"fc"``.
    taken, made : tuple of int
        Shape of what it takes and of what it puts out: ``(n,)`` or ``(height, width, channels)``.
    kernel : tuple of int, or None
        Height and width of the window; None for a fully connected layer.
    same : bool
        Whether a convolution is padded.
    """

    name: str
    kind: str
    taken: Shape
    made: Shape
    kernel: tuple[int, int] | None = None
    same: bool = False

    @property
    def has_weights(self) -> bool:
        """Whether it is a convolution or a fully connected layer."""
        return self.kind in ("conv", "fc")


def is_entry(value: object, *, first: bool) -> bool:
    """Whether a value may stand for the input, the ``first`` of all, or else for a layer."""
    if isinstance(value, int) and not isinstance(value, bool):
        return 1 <= value <= MAX_SIDE
    if not isinstance(value, str):
        return False
    if first:
        return _INPUT.fullmatch(value) is not None
    match = _STEP.fullmatch(value)
    return match is not None and (match[1] == "conv") == (match[4] is not None)


def input_shape(entries: Sequence[int | str]) -> Shape:
    """Shape of the input: ``(n,)``, or ``(height, width, channels)`` with one channel.

    Examples
    --------
    >>> input_shape(["28x28", 10])
    (28, 28, 1)
    """
    first = entries[0]
    if isinstance(first, int):
        return (first,)
    match = _INPUT.fullmatch(first)
    assert match is not None
    return int(match[1]), int(match[2]), 1


def steps(entries: Sequence[int | str]) -> list[Step]:
    """The layers, with the shapes that follow from each other.

    Parameters
    ----------
    entries : sequence of int or str
        The input and at least one layer, each of which :func:`is_entry` holds for.

    Raises
    ------
    ValueError
        If a layer does not fit what it takes. The message names the entry.

    Examples
    --------
    >>> for step in steps(["6x6", "conv 3x3 4", "max 2x2", 10]):
    ...     print(step.name, step.taken, step.made)
    conv1 (6, 6, 1) (4, 4, 4)
    max1 (4, 4, 4) (2, 2, 4)
    fc1 (2, 2, 4) (10,)
    """
    found: list[Step] = []
    taken = input_shape(entries)
    for entry in entries[1:]:
        step = _fully_connected(entry, taken) if isinstance(entry, int) else _window(entry, taken)
        number = 1 + sum(one.kind == step.kind for one in found)
        found.append(replace(step, name=f"{step.kind}{number}"))
        taken = step.made
    return found


def _fully_connected(outputs: int, taken: Shape) -> Step:
    return Step("", "fc", taken, (outputs,))


def _window(entry: str, taken: Shape) -> Step:
    match = _STEP.fullmatch(entry)
    assert match is not None
    kind, kernel, same = match[1], (int(match[2]), int(match[3])), match[5] is not None
    if len(taken) != 3:
        raise ValueError(f"{entry!r} must come before all fully connected layers")
    height, width, channels = taken
    if same and not (kernel[0] % 2 and kernel[1] % 2):
        raise ValueError(f"{entry!r} must have a kernel with odd sides to be padded")
    if not same and (kernel[0] > height or kernel[1] > width):
        raise ValueError(f"{entry!r} must fit a map of {height}x{width}")
    if kind != "conv":
        made = height // kernel[0], width // kernel[1], channels
    elif same:
        made = height, width, int(match[4])
    else:
        made = height - kernel[0] + 1, width - kernel[1] + 1, int(match[4])
    return Step("", kind, taken, made, kernel, same)
