"""Small networks of the kinds that a sparse engine is easily wrong about."""

import random
from collections.abc import Callable

import numpy as np

from golden.image import FullyConnected, Network
from hdl.configuration import Configuration

__all__ = ["KINDS", "network", "vectors"]


def network(kind: str, c: Configuration) -> Network:
    """A random network of a kind in :data:`KINDS` that fits a device."""
    matrices = KINDS[kind](c)
    radix = c.activation_width // 2
    layers = []
    for index, matrix in enumerate(matrices):
        # Chains of escapes come with the widest codes, which leave the fewest bits for a delta;
        # a network that fills everything else has no room for them.
        widest = min(c.code_width, (c.codebook_depth // len(matrices)).bit_length() - 1)
        code_width = {"escapes": widest, "full": 2}.get(kind, random.randint(2, widest))
        nonzero = matrix != 0
        codes = np.where(nonzero, 1 + (matrix - 1) % ((1 << code_width) - 1), 0)
        most = int(nonzero.sum(axis=1).max(initial=1))
        # Bits that no sum of so many products can overflow.
        bits = c.accumulator_width - c.activation_width - max(1, most).bit_length() - 1
        bits = min(bits, c.weight_width)
        codebook = [0, *(_corner(bits) for _ in range((1 << code_width) - 1))]
        shift = min(31, max(0, bits + most.bit_length() // 2 - random.randint(0, 4)))
        bias_bits = min(32, c.accumulator_width - 2, c.activation_width + shift)
        layers.append(
            FullyConnected.from_matrix(
                f"layer {index}",
                codes.astype(np.uint8),
                codebook=np.array(codebook, np.int16),
                code_width=code_width,
                weight_radix=shift,
                bias=np.array([_corner(bias_bits) for _ in matrix], np.int32),
                output_radix=radix,
                activation=random.choice(["none", "relu"]),
            )
        )
    width = 16 if c.activation_width == 16 else 8
    return Network(kind, tuple(layers), width, radix)


def vectors(net: Network, count: int) -> np.ndarray:
    """Inputs: all zero, all at either end, only the last one, and random ones at every density."""
    low = -(1 << (net.activation_width - 1))
    inputs = np.zeros((count, net.inputs), np.int64)
    for n, row in enumerate(inputs):
        kind = n % 7
        if kind in (1, 2):
            row[:] = low if kind == 1 else -low - 1
        elif kind == 3:
            row[-1] = -1
        elif kind > 3:
            density = random.choice([0.1, 0.5, 0.9])
            row[:] = [
                _corner(net.activation_width) if random.random() < density else 0 for _ in row
            ]
    return inputs


def _corner(bits: int) -> int:
    low = -(1 << (bits - 1))
    return random.choice([low, -1, 1, -low - 1, random.randrange(low, -low), random.randint(-9, 9)])


def _matrix(outputs: int, inputs: int, density: float) -> np.ndarray:
    codes = np.array([random.randrange(1, 256) for _ in range(outputs * inputs)])
    keep = np.array([random.random() < density for _ in codes])
    return (codes * keep).reshape(outputs, inputs)


def _rows(c: Configuration) -> int:
    """A number of outputs that the elements cannot share evenly, if there are several."""
    most = min(2 * c.elements, c.elements * c.row_depth)
    return max(1, most - random.randint(1, c.elements))


def _random(c: Configuration) -> list[np.ndarray]:
    longest = 3 * c.elements + 2
    # Layers may be split, and in tiles.
    tiles = -(-longest * c.ways // (c.elements * c.row_depth))
    sides = [random.randint(1, longest) for _ in range(c.layer_depth // tiles + 1)]
    return [
        _matrix(outputs, inputs, random.choice([0.1, 0.3, 0.6]))
        for inputs, outputs in zip(sides, sides[1:], strict=False)
    ]


def _empty_columns(c: Configuration) -> list[np.ndarray]:
    """No weight in the first and last columns, nor in a run of several blocks in the middle."""
    inputs = 6 * c.scan_width + 5
    first = _matrix(_rows(c), inputs, 0.5)
    first[:, :2] = first[:, -2:] = 0
    first[:, 3 : 3 * c.scan_width + 4] = 0
    second = _matrix(_rows(c), len(first), 0.5)
    second[:, [0, -1]] = 0
    return [first, second]


def _empty_elements(c: Configuration) -> list[np.ndarray]:
    """All weights in one row, then none at all, then in all rows but one."""
    first = _matrix(2 * c.elements, 7, 0.0)
    first[1] = _matrix(1, 7, 0.8)
    second = _matrix(c.elements + 1, len(first), 0.0)
    third = _matrix(2 * c.elements, len(second), 0.9)
    third[0] = 0
    return [first, second, third]


def _single(c: Configuration) -> list[np.ndarray]:
    """One row, then one column, then one weight."""
    return [_matrix(1, 9, 0.5), _matrix(5, 1, 1.0), _matrix(1, 5, 0.3)][: c.layer_depth]


def _dense(c: Configuration) -> list[np.ndarray]:
    """Every weight there, and as many in a column as its count can say."""
    rows = min(c.row_depth, c.bias_depth // c.elements, c.activation_depth // c.elements)
    count = min(rows, (1 << c.count_width) - 1, c.weight_depth // 8)
    columns = min(c.weight_depth // count - 1, 4)
    return [_matrix(c.elements * count, columns, 1.0)]


def _escapes(c: Configuration) -> list[np.ndarray]:
    """A few weights far apart, the last one in the last row."""
    rows = min(c.elements * c.row_depth, c.activation_depth) // c.elements * c.elements
    rows = min(rows, 200 * c.elements)
    matrix = _matrix(rows, 12, 2 / rows)
    matrix[-1] = _matrix(1, 12, 0.5)
    return [matrix, _matrix(2, rows, 0.1)]


def _full(c: Configuration) -> list[np.ndarray]:
    """Vectors, rows and layers as many as there is room for."""
    longest = min(c.activation_depth, c.elements * c.row_depth)
    # Both columns and biases of all layers have to fit.
    longest = min(longest, c.column_depth // 2, c.bias_depth // 2) // c.elements * c.elements
    first = _matrix(longest, longest, 0.0)
    first[range(longest), random.sample(range(longest), longest)] = 1
    last = _matrix(c.elements, longest, 0.3)
    return [first, last]


def _longest(c: Configuration) -> list[np.ndarray]:
    """A vector for which all ways together have just enough counts."""
    return [_matrix(2, c.ways * c.column_depth, 0.3)]


def _tiles(c: Configuration) -> list[np.ndarray]:
    """More rows than the elements hold at a time: in each layer, or the last one, as they fit."""
    most = c.elements * c.row_depth
    sides = [5, 2 * most - 1, most + 1, most + 1]
    if 4 * most > c.activation_depth:
        sides = [7, 3, min(most + 1, c.bias_depth // 2)]
    return [_matrix(rows, columns, 0.3) for columns, rows in zip(sides, sides[1:], strict=False)]


KINDS: dict[str, Callable[[Configuration], list[np.ndarray]]] = {
    "random": _random,
    "empty_columns": _empty_columns,
    "empty_elements": _empty_elements,
    "single": _single,
    "dense": _dense,
    "escapes": _escapes,
    "full": _full,
    "longest": _longest,
    "tiles": _tiles,
}
