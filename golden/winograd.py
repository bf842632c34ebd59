"""Golden model of :mod:`hdl.winograd`: 3x3 convolution by fast algorithms, exact in every bit.

Winograd's F(m x m, 3 x 3) (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks",
CVPR 2016) computes m x m results from (m + 2) x (m + 2) inputs with one product for each input:

    Y = A ((G g G') * (B d B')) A' / s**2

where ``'`` transposes and ``*`` goes element by element. A, B and G are integers, and the only
division is the last one, which leaves no remainder. Every sum before it may wrap around: if results
fit W bits, and ``s**2`` is an odd number times ``2**k``, then W + k bits suffice throughout, since
odd numbers have inverses modulo powers of two. :func:`widths` says how many bits each step takes.

Weights can also be in the Winograd domain from the start, where more of them can be zero without a
loss (Liu et al., "Efficient Sparse-Winograd Convolutional Neural Networks", ICLR 2018). These are
any integers U, not what G makes of others, so that there is nothing to divide:

    Y = A (U * (B d B')) A'
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from math import gcd, lcm

import torch
from torch import Tensor

from golden.fixed import check_within, limits, requantise

__all__ = [
    "PADDINGS",
    "POINTS",
    "Transform",
    "Widths",
    "convolve",
    "convolve_transformed",
    "layer",
    "phases",
    "transform",
    "widths",
]

POINTS = {2: (0, 1, -1), 4: (0, 1, -1, 2, -2)}
"""Points of F(m x m, 3 x 3), by m. Infinity is one more."""

PADDINGS = ("same", "valid")

_TAPS = 3

Matrix = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Transform:
    """The matrices of F(m x m, 3 x 3)."""

    tile: int
    """Results on a side, m."""
    inputs: Matrix
    """B, ``(m + 2, m + 2)``."""
    weights: Matrix
    """G, ``(m + 2, 3)``."""
    outputs: Matrix
    """A, ``(m, m + 2)``."""
    scale: int
    """s."""

    @property
    def size(self) -> int:
        """Inputs on a side, and products."""
        return self.tile + _TAPS - 1

    @property
    def shift(self) -> int:
        """k: how many times two divides ``scale**2``."""
        return (self.scale**2 & -(self.scale**2)).bit_length() - 1

    @property
    def odd(self) -> int:
        """What remains of ``scale**2``."""
        return self.scale**2 >> self.shift


@cache
def transform(tile: int) -> Transform:
    """The matrices, from their definition.

    A polynomial of degree n - 1 is known from its values at n points, one of which may be infinity,
    where it has its leading coefficient. So the coefficients of a product of two polynomials are
    ``inverse(V_n) ((V_m x) * (V_3 g))``, where V has a row of powers for each point (Toom and
    Cook). What this does to x is a matrix; its transpose is the convolution:

        y = V_m' ((V_3 g) * (inverse(V_n)' d))

    Rows of the last matrix are made integers without a common factor; what that takes goes to the
    columns of the first, and the denominator of all of these is s.

    Parameters
    ----------
    tile : int
        A key of :data:`POINTS`.

    Examples
    --------
    >>> f2 = transform(2)
    >>> f2.inputs
    ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, -1, 0, 1))
    >>> f2.weights
    ((1, 0, 0), (1, 1, 1), (1, -1, 1), (0, 0, 1))
    >>> f2.outputs, f2.scale
    (((2, 1, 1, 0), (0, 1, -1, 2)), 2)
    """
    if tile not in POINTS or isinstance(tile, bool):
        raise ValueError(f"tile must be one of {tuple(POINTS)}, not {tile!r}")
    points = POINTS[tile]
    size = tile + _TAPS - 1
    inverse = _inverse(_powers(points, size))
    columns = [[row[n] for row in inverse] for n in range(size)]
    factors = [_primitive(column) for column in columns]
    scale = lcm(*(factor.numerator for factor in factors))
    evaluation = _powers(points, tile)
    return Transform(
        tile,
        inputs=tuple(
            tuple(int(x * factor) for x in column)
            for column, factor in zip(columns, factors, strict=True)
        ),
        weights=tuple(tuple(row) for row in _powers(points, _TAPS)),
        outputs=tuple(
            tuple(int(evaluation[n][p] * scale / factors[n]) for n in range(size))
            for p in range(tile)
        ),
        scale=scale,
    )


@dataclass(frozen=True)
class Widths:
    """Bits of two's complement numbers that each step takes, in the worst case."""

    value: int
    """A transformed input: V = B d B'."""
    weight: int
    """A transformed weight: U = G g G'."""
    product: int
    """U times V."""
    result: int
    """A sum of 9 products of activations and weights for each channel: the W of the argument."""
    accumulator: int
    """A sum of products U times V, which may wrap around: W + k."""


def widths(tile: int, activation_width: int, weight_width: int, channels: int) -> Widths:
    """Bits that each step takes, exactly: with a bit less, there are inputs that do not fit.

    Accumulators are the exception. They are W + k bits, whatever the values that they have on the
    way: all steps from the products to the division are additions, and so are right modulo
    ``2**(W + k)``. There the sum is ``s**2 * y``. Times the inverse of the odd part of ``s**2`` it
    is ``2**k * y``, and as y fits W bits, that fits W + k.

    Parameters
    ----------
    tile : int
        A key of :data:`POINTS`.
    activation_width, weight_width : int
        Bits of an activation and of a weight, 2 to 16.
    channels : int
        Input channels. Positive.

    Examples
    --------
    >>> widths(4, 8, 8, 512)
    Widths(value=15, weight=14, product=26, result=28, accumulator=34)
    """
    for name, width in ("activation_width", activation_width), ("weight_width", weight_width):
        if not isinstance(width, int) or isinstance(width, bool) or not 2 <= width <= 16:
            raise TypeError(f"{name} must be an integer from 2 to 16, not {width!r}")
    if not isinstance(channels, int) or isinstance(channels, bool) or channels < 1:
        raise TypeError(f"channels must be a positive integer, not {channels!r}")
    matrices = transform(tile)
    values = _ranges(matrices.inputs, *limits(activation_width))
    weights = _ranges(matrices.weights, *limits(weight_width))
    products = [_products(*pair) for pair in zip(values, weights, strict=True)]
    term = _products(limits(activation_width), limits(weight_width))
    count = _TAPS**2 * channels
    result = _bits([(count * term[0], count * term[1])])
    return Widths(_bits(values), _bits(weights), _bits(products), result, result + matrices.shift)


def convolve(
    inputs: Tensor,
    weights: Tensor,
    *,
    tile: int,
    padding: str,
    activation_width: int = 8,
    weight_width: int = 8,
) -> Tensor:
    """3x3 convolution with stride 1, tile by tile, each step wrapped to what :func:`widths` says.

    Parameters
    ----------
    inputs : Tensor of a signed integer dtype, ``(batch, channels, height, width)``
        Activations, within ``activation_width`` bits.
    weights : Tensor of a signed integer dtype, ``(kernels, channels, 3, 3)``
        Weights, within ``weight_width`` bits.
    tile : int
        A key of :data:`POINTS`.
    padding : str
        ``"same"``, with zeros all around, or ``"valid"``, which takes off two rows and columns.
    activation_width, weight_width : int
        2 to 16 bits. Products have to fit 62.

    Returns
    -------
    Tensor of int64, ``(batch, kernels, height or height - 2, width or width - 2)``

    Raises
    ------
    TypeError
        If a tensor is not of a signed integer dtype.
    ValueError
        If shapes do not match, there is nothing to convolve, or a number does not fit its bits.

    Examples
    --------
    >>> ones = torch.ones(1, 1, 3, 4, dtype=torch.int64)
    >>> convolve(ones, torch.ones(1, 1, 3, 3, dtype=torch.int64), tile=4, padding="same")
    tensor([[[[4, 6, 6, 4],
              [6, 9, 9, 6],
              [4, 6, 6, 4]]]])
    """
    _check(inputs, weights, padding, activation_width, weight_width, side=_TAPS)
    matrices = transform(tile)
    bits = widths(tile, activation_width, weight_width, inputs.shape[1])
    g, a = (torch.tensor(matrix) for matrix in (matrices.weights, matrices.outputs))
    v = _wrap(_values(inputs, tile, padding), bits.value)
    u = _wrap(torch.einsum("ir,kcrs,js->kcij", g, weights.to(torch.int64), g), bits.weight)
    sums = torch.zeros((len(v), len(u), *v.shape[2:]), dtype=torch.int64)
    for channel in range(inputs.shape[1]):
        products = u[:, channel, None, None] * v[:, None, channel]
        sums = _wrap(sums + _wrap(products, bits.product), bits.accumulator)
    half = _wrap(torch.einsum("pi,bkyxij->bkyxpj", a, sums), bits.accumulator)
    scaled = _wrap(torch.einsum("bkyxpj,qj->bkyxpq", half, a), bits.accumulator)
    inverse = pow(matrices.odd, -1, 1 << bits.accumulator)
    # The product may wrap around in 64 bits as well: they are more.
    results = _wrap(scaled * _signed(inverse, bits.accumulator), bits.accumulator) >> matrices.shift
    return _joined(results, inputs, padding)


def convolve_transformed(
    inputs: Tensor,
    weights: Tensor,
    *,
    tile: int,
    padding: str,
    activation_width: int = 8,
    weight_width: int = 8,
) -> Tensor:
    """3x3 convolution with stride 1, with weights in the Winograd domain: ``A (U * (B d B')) A'``.

    Weights ``G g G'`` give ``scale**2`` times what :func:`convolve` gives for g.

    Parameters
    ----------
    inputs, tile, padding, activation_width
        As of :func:`convolve`.
    weights : Tensor of a signed integer dtype, ``(kernels, channels, tile + 2, tile + 2)``
        U, within ``weight_width`` bits.
    weight_width : int
        2 to 16 bits.

    Returns
    -------
    Tensor of int64, ``(batch, kernels, height or height - 2, width or width - 2)``

    Raises
    ------
    TypeError, ValueError
        As :func:`convolve`.

    Examples
    --------
    >>> ones = torch.ones(1, 1, 3, 4, dtype=torch.int64)
    >>> centre = torch.tensor([[[[0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]]])
    >>> convolve_transformed(ones, centre, tile=2, padding="valid")
    tensor([[[[4, 4]]]])
    """
    matrices = transform(tile)
    _check(inputs, weights, padding, activation_width, weight_width, side=matrices.size)
    values = _values(inputs, tile, padding)
    assert (values.shape[1] << (weight_width - 1)) * int(values.abs().max()) < 1 << 53
    # Exact in float64, where matrix products are fast: one for each of the positions.
    sums = torch.einsum("kcij,bcyxij->bkyxij", weights.double(), values.double()).to(torch.int64)
    a = torch.tensor(matrices.outputs)
    return _joined(torch.einsum("pi,bkyxij,qj->bkyxpq", a, sums, a), inputs, padding)


def phases(weights: Tensor, tile: int) -> Tensor:
    """What weights in the Winograd domain do to the inputs of a tile.

    Results at a distance of ``tile`` are a direct convolution with that stride, by a kernel of
    ``tile + 2`` rows and columns; of these kernels there is one for each result of a tile.

    Parameters
    ----------
    weights : Tensor of a signed integer dtype, ``(kernels, channels, tile + 2, tile + 2)``
        U.
    tile : int
        A key of :data:`POINTS`.

    Returns
    -------
    Tensor of int64, ``(kernels, tile, tile, channels, tile + 2, tile + 2)``

    Examples
    --------
    >>> g = torch.tensor(transform(2).weights)
    >>> kernel = g @ torch.tensor([[1, 2, 3], [4, 5, 6], [7, 8, 9]]) @ g.T
    >>> phases(kernel[None, None], 2)[0, 0, 1, 0] // 4
    tensor([[0, 1, 2, 3],
            [0, 4, 5, 6],
            [0, 7, 8, 9],
            [0, 0, 0, 0]])
    """
    matrices = transform(tile)
    b, a = torch.tensor(matrices.inputs), torch.tensor(matrices.outputs)
    both = torch.einsum("pi,ir->pir", a, b)
    return torch.einsum("pir,kcij,qjs->kpqcrs", both, weights.to(torch.int64), both)


def layer(
    inputs: Tensor,
    weights: Tensor,
    bias: Tensor,
    *,
    tile: int,
    padding: str,
    shift: int,
    activation: str = "none",
    activation_width: int = 8,
    weight_width: int = 8,
) -> tuple[Tensor, Tensor]:
    """Accumulators and output activations of a convolutional layer.

    Parameters
    ----------
    inputs, weights, tile, padding, activation_width, weight_width
        As of :func:`convolve`; or as of :func:`convolve_transformed`, if weights have as many rows
        and columns as are there.
    bias : Tensor of a signed integer dtype, ``(kernels,)``
        Added to what these give.
    shift : int
        Fraction bits that an accumulator has more than an output activation, 0 to 62.
    activation : str
        ``"none"`` or ``"relu"``.

    Returns
    -------
    accumulators : Tensor of int64, ``(batch, kernels, rows, columns)``
        Exact sums, bias included.
    outputs : Tensor of int64, of the same shape
        Output activations, within ``activation_width`` bits.

    Raises
    ------
    TypeError, ValueError
        As :func:`convolve`, and for a bias that is of another shape or not of integers.
    """
    if bias.is_floating_point() or bias.is_complex() or not bias.dtype.is_signed:
        raise TypeError(f"bias must be of a signed integer dtype, not {bias.dtype}")
    if bias.shape != weights.shape[:1]:
        raise ValueError(
            f"bias must be of shape {tuple(weights.shape[:1])}, not {tuple(bias.shape)}"
        )
    convolves = convolve if tuple(weights.shape[2:]) == (_TAPS, _TAPS) else convolve_transformed
    sums = convolves(
        inputs,
        weights,
        tile=tile,
        padding=padding,
        activation_width=activation_width,
        weight_width=weight_width,
    )
    sums = sums + bias.to(torch.int64)[:, None, None]
    return sums, requantise(sums, shift, *limits(activation_width, activation))


def _values(inputs: Tensor, tile: int, padding: str) -> Tensor:
    """V = B d B' of all tiles, ``(batch, channels, rows, columns, tile + 2, tile + 2)``."""
    matrices = transform(tile)
    pad = int(padding == "same")
    edges = []
    for length in inputs.shape[2:]:
        count = -(-(length + 2 * pad - _TAPS + 1) // tile)
        edges.append((pad, count * tile + _TAPS - 1 - length - pad))
    image = torch.nn.functional.pad(inputs.to(torch.int64), (*edges[1], *edges[0]))
    windows = image.unfold(2, matrices.size, tile).unfold(3, matrices.size, tile)
    b = torch.tensor(matrices.inputs)
    return torch.einsum("ir,bcyxrs,js->bcyxij", b, windows, b)


def _joined(tiles: Tensor, inputs: Tensor, padding: str) -> Tensor:
    """Feature maps of ``(batch, kernels, rows, columns, tile, tile)``, less what is beyond."""
    batch, kernels, rows, columns, tile, _ = tiles.shape
    whole = tiles.transpose(3, 4).reshape(batch, kernels, rows * tile, columns * tile)
    lost = 0 if padding == "same" else _TAPS - 1
    return whole[:, :, : inputs.shape[2] - lost, : inputs.shape[3] - lost]


def _powers(points: Sequence[int], count: int) -> list[list[int]]:
    """A row of ``count`` powers for each point, and one for infinity."""
    return [[point**n for n in range(count)] for point in points] + [[0] * (count - 1) + [1]]


def _inverse(matrix: Sequence[Sequence[int]]) -> list[list[Fraction]]:
    """Inverse, by Gauss and Jordan."""
    size = len(matrix)
    rows = [
        [Fraction(x) for x in row] + [Fraction(n == m) for m in range(size)]
        for n, row in enumerate(matrix)
    ]
    for n in range(size):
        pivot = next(m for m in range(n, size) if rows[m][n])
        rows[n], rows[pivot] = rows[pivot], rows[n]
        rows[n] = [x / rows[n][n] for x in rows[n]]
        for m in range(size):
            if m != n:
                rows[m] = [x - rows[m][n] * y for x, y in zip(rows[m], rows[n], strict=True)]
    return [row[size:] for row in rows]


def _primitive(row: Sequence[Fraction]) -> Fraction:
    """Positive factor that makes ``row`` integers without a common factor."""
    denominator = lcm(*(x.denominator for x in row))
    return Fraction(denominator, gcd(*(int(x * denominator) for x in row)))


def _ranges(matrix: Matrix, low: int, high: int) -> list[tuple[int, int]]:
    """Least and largest number at each place of M X M', for X from ``low`` to ``high``."""
    ranges = []
    for first in matrix:
        for second in matrix:
            factors = [x * y for x in first for y in second]
            up, down = sum(x for x in factors if x > 0), sum(x for x in factors if x < 0)
            ranges.append((up * low + down * high, up * high + down * low))
    return ranges


def _products(first: tuple[int, int], second: tuple[int, int]) -> tuple[int, int]:
    """Least and largest product of numbers from two ranges."""
    corners = [x * y for x in first for y in second]
    return min(corners), max(corners)


def _bits(ranges: Sequence[tuple[int, int]]) -> int:
    """Bits of two's complement numbers from all ``ranges``."""
    return 1 + max(max(high.bit_length(), (-low - 1).bit_length()) for low, high in ranges)


def _signed(number: int, width: int) -> int:
    return number - (number >> (width - 1) << width)


def _wrap(numbers: Tensor, width: int) -> Tensor:
    """The lowest ``width`` bits, in two's complement."""
    return numbers << (64 - width) >> (64 - width)


def _check(
    inputs: Tensor,
    weights: Tensor,
    padding: str,
    activation_width: int,
    weight_width: int,
    *,
    side: int,
) -> None:
    for name, tensor, width in (
        ("inputs", inputs, activation_width),
        ("weights", weights, weight_width),
    ):
        check_within(name, tensor, width)
    if padding not in PADDINGS:
        raise ValueError(f"padding must be one of {PADDINGS}, not {padding!r}")
    least = 1 if padding == "same" else _TAPS
    if inputs.dim() != 4 or min(inputs.shape[1:]) < 1 or min(inputs.shape[2:]) < least:
        raise ValueError(
            "inputs must be of shape (batch, channels, height, width), at least "
            f"{least} high and wide, not {tuple(inputs.shape)}"
        )
    shape = (inputs.shape[1], side, side)
    if weights.dim() != 4 or tuple(weights.shape[1:]) != shape or not len(weights):
        expected = ", ".join(map(str, shape))
        raise ValueError(
            f"weights must be of shape (kernels, {expected}), not {tuple(weights.shape)}"
        )
