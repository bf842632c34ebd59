"""The network and the device that the examples of these pages are about: small enough to print."""

import numpy as np

from golden.image import FullyConnected, Network
from hdl.configuration import Configuration

__all__ = ["DEVICE", "INPUT", "network"]

DEVICE = Configuration(
    elements=2,
    scan_width=2,
    activation_width=8,
    weight_width=8,
    accumulator_width=24,
    code_width=2,
    entry_width=4,
    count_width=3,
    queue_depth=16,
    weight_depth=64,
    column_depth=32,
    row_depth=8,
    codebook_depth=8,
    bias_depth=32,
    activation_depth=16,
    layer_depth=2,
    counter_width=16,
)

INPUT = np.array([5, 0, 3, -2, 0, 0, 0, 4])

# Codes, one row an output.
_FIRST = """
    . . 2 . . . . .
    1 2 1 . 3 . . .
    . . . . . . 1 .
    . . . 1 . . . .
    . 3 . . . . . 3
    1 . . . . . 2 2
    . . . . . . 1 1
    . . . 2 . . . 1
    . . 3 1 . . . .
    3 . . . . . . .
    . . . . . . . .
    . . . . 1 . . 2
"""
_SECOND = """
    1 . . 3 . 2 . . 1 . . .
    . 2 . . 1 1 . 3 . 1 . 1
    3 . 1 . . . 2 . . . 3 .
"""
_CODEBOOK = np.array([0, 2, -1, 3], np.int16)


def network() -> Network:
    """Eight inputs, twelve rectified activations, three outputs."""
    layers = (
        _layer("hidden", _FIRST, bias=[0, -4, 1, 3, 0, 2, 0, -1, 0, 0, 6, 0], activation="relu"),
        _layer("out", _SECOND, bias=[1, 0, -2], activation="none"),
    )
    return Network("tiny", layers, activation_width=8, input_radix=0)


def _layer(name: str, codes: str, *, bias: list[int], activation: str) -> FullyConnected:
    rows = codes.replace(".", "0").split("\n")[1:-1]
    return FullyConnected.from_matrix(
        name,
        np.array([row.split() for row in rows], np.uint8),
        codebook=_CODEBOOK,
        code_width=2,
        weight_radix=1,
        bias=np.array(bias, np.int32),
        output_radix=0,
        activation=activation,
    )
