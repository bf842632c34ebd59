"""Layers with weights: one sparse matrix of shared weights, and what it is applied to."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from golden.errors import ImageError
from golden.layers.base import Layer, Shape, Windowed
from golden.layers.check import MAX_NONZEROS, MAX_SIDE, Check

__all__ = ["Convolution", "FullyConnected", "Weighted"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Weighted(Layer):
    """A layer with a matrix of weights: codes into a codebook, column by column.

    Rows are what the layer puts out at one position, columns what it takes there. Construction
    checks every field against the others.

    Parameters
    ----------
    codes : ndarray of uint8, ``(nonzeros,)``
        Code of each non-zero weight, 1 to ``2**code_width - 1``, in column-major order.
    rows : ndarray of int32, ``(nonzeros,)``
        Row of each non-zero weight, ascending within a column.
    column_starts : ndarray of int64, ``(inputs + 1,)``
        Column ``c`` owns the non-zeros from ``column_starts[c]`` up to ``column_starts[c + 1]``.
    codebook : ndarray of int16, ``(2**code_width,)``
        Weight of each code; that of code 0 is 0.
    code_width : int
        Bits of a code, 2 to 8.
    weight_radix : int
        Fraction bits of a weight, 0 to 31.
    bias : ndarray of int32, ``(outputs,)``
        Start of each accumulator, at the accumulator's radix: that of the input activations plus
        ``weight_radix``.
    name, output_radix, activation
        As for every :class:`~golden.layers.base.Layer`.

    Raises
    ------
    ImageError
        If a field is wrong. The message names the layer and the field.
    """

    codes: np.ndarray
    rows: np.ndarray
    column_starts: np.ndarray
    codebook: np.ndarray
    code_width: int
    weight_radix: int
    bias: np.ndarray

    def __post_init__(self) -> None:
        super().__post_init__()
        check = self.check
        check.whole(self, "code_width", 2, 8)
        check.whole(self, "weight_radix", 0, 31)
        check.vector(self, "bias", np.int32, 1, MAX_SIDE)
        check.vector(self, "column_starts", np.int64, 2, MAX_SIDE + 1)
        check.vector(self, "codes", np.uint8, 0, MAX_NONZEROS)
        check.vector(self, "rows", np.int32, len(self.codes), len(self.codes))
        check.vector(self, "codebook", np.int16, 2**self.code_width, 2**self.code_width)
        self._check_weights(check)

    def _check_weights(self, check: Check) -> None:
        starts = self.column_starts
        check.require(
            starts[0] == 0 and starts[-1] == self.nonzeros and bool((np.diff(starts) >= 0).all()),
            f"column_starts must ascend from 0 to the {self.nonzeros} non-zeros",
        )
        check.require(
            self.codebook[0] == 0, f"codebook must start with 0, not {int(self.codebook[0])}"
        )
        if self.nonzeros == 0:
            return
        low, high = int(self.codes.min()), int(self.codes.max())
        check.require(
            low >= 1 and high < 2**self.code_width,
            f"codes must lie within 1 to {2**self.code_width - 1}, not {low} to {high}",
        )
        low, high = int(self.rows.min()), int(self.rows.max())
        check.require(
            low >= 0 and high < self.outputs,
            f"rows must lie within 0 to {self.outputs - 1}, not {low} to {high}",
        )
        # A row may only fail to ascend where a column starts.
        ascends = self.rows[1:] > self.rows[:-1]
        inner = starts[(starts > 0) & (starts < self.nonzeros)]
        ascends[inner - 1] = True
        check.require(bool(ascends.all()), "rows must ascend within each column")

    @classmethod
    def from_matrix(cls, name: str, matrix: np.ndarray, *, bias: np.ndarray, **fields: Any) -> Self:
        """The layer whose codes lie in ``matrix``, uint8 ``(outputs, inputs)``, 0 for no weight.

        ``fields`` are the others of the class.
        """
        matrix = np.asarray(matrix)
        if matrix.dtype != np.uint8 or matrix.ndim != 2 or len(matrix) != len(bias):
            raise ImageError(
                f"layer {name!r}: matrix must be of dtype uint8 and shape ({len(bias)}, inputs), "
                f"not {matrix.dtype} and {matrix.shape!r}"
            )
        columns, rows = np.nonzero(matrix.T)
        starts = np.zeros(matrix.shape[1] + 1, np.int64)
        np.cumsum(np.bincount(columns, minlength=matrix.shape[1]), out=starts[1:])
        return cls(
            name=name,
            codes=matrix[rows, columns],
            rows=rows.astype(np.int32),
            column_starts=starts,
            bias=bias,
            **fields,
        )

    @property
    def outputs(self) -> int:
        """Number of rows."""
        return len(self.bias)

    @property
    def inputs(self) -> int:
        """Number of columns."""
        return len(self.column_starts) - 1

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns: ``(outputs, inputs)``."""
        return self.outputs, self.inputs

    @property
    def nonzeros(self) -> int:
        """Number of weights that are stored."""
        return len(self.codes)

    @property
    def density(self) -> float:
        """Share of the weights that are stored, 0 to 1."""
        return self.nonzeros / (self.outputs * self.inputs)

    @property
    def columns(self) -> np.ndarray:
        """Column of each non-zero weight, int32 ``(nonzeros,)``."""
        return np.repeat(np.arange(self.inputs, dtype=np.int32), np.diff(self.column_starts))

    def dense(self, first: int = 0, last: int | None = None) -> np.ndarray:
        """Weights of columns ``first`` up to ``last``, int16 ``(outputs, last - first)``."""
        starts = self.column_starts[first : None if last is None else last + 1]
        part = slice(starts[0], starts[-1])
        columns = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
        weights = np.zeros((self.outputs, len(starts) - 1), np.int16)
        weights[self.rows[part], columns] = self.codebook[self.codes[part]]
        return weights

    def accumulator_radix(self, *radixes: int) -> int:
        (radix,) = radixes
        return radix + self.weight_radix

    def accumulator_bits(self, activation_width: int, *radixes: int) -> int:
        """Bits of a two's complement accumulator that no input can overflow.

        The bound, over all rows, is ``|bias| + sum(|weight|) * 2**(activation_width - 1)``; no
        partial sum exceeds it either, in whatever order the products are added.
        """
        magnitudes = np.abs(self.codebook.astype(np.float64))[self.codes]
        sums = np.bincount(self.rows, magnitudes, self.outputs).astype(np.int64)
        bounds = np.abs(self.bias.astype(np.int64)) + (sums << (activation_width - 1))
        return int(bounds.max()).bit_length() + 1


@dataclass(frozen=True, eq=False, kw_only=True)
class FullyConnected(Weighted):
    """Every output depends on every input: the matrix is applied to the whole tensor.

    A feature map is taken in the order of its activations in memory, channels last.
    """

    kind: ClassVar[str] = "fully_connected"

    def output_shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        taken = math.prod(shape)
        self.check.require(
            self.inputs == taken,
            f"inputs must be {taken}, as many activations as its source has, not {self.inputs}",
        )
        return (self.outputs,)


@dataclass(frozen=True, eq=False, kw_only=True)
class Convolution(Weighted, Windowed):
    """The matrix is applied to a window of a feature map, which moves over it.

    Rows are the channels of the output. Columns are what lies in a window, in the order of memory:
    ``(row of the kernel, column of the kernel, channel of the group)``. As everywhere in neural
    networks, the kernel is not mirrored.

    Parameters
    ----------
    groups : int
        Into how many groups the channels of the input and of the output are divided, in their
        order. An output depends on the inputs of its own group only; with as many groups as
        channels, the convolution is depthwise.
    kernel, stride, padding
        As for every :class:`~golden.layers.base.Windowed` layer. Padding consists of zeros.
    codes, rows, column_starts, codebook, code_width, weight_radix, bias
        As for every :class:`Weighted` layer.
    """

    kind: ClassVar[str] = "convolution"

    groups: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check = self.check
        check.whole(self, "groups", 1, MAX_SIDE)
        check.require(
            self.outputs % self.groups == 0,
            f"groups must divide the {self.outputs} outputs, which {self.groups} does not",
        )
        area = math.prod(self.kernel)
        check.require(
            self.inputs % area == 0,
            f"inputs must be a multiple of {area}, the area of the kernel, not {self.inputs}",
        )

    @property
    def channels(self) -> int:
        """Channels of the input, those of all groups."""
        return self.inputs // math.prod(self.kernel) * self.groups

    def output_shape(self, *shapes: Shape) -> Shape:
        channels = self.map_shape(*shapes)[2]
        taken = math.prod(self.kernel) * (channels // self.groups)
        self.check.require(
            channels % self.groups == 0,
            f"groups must divide the {channels} channels of its source, "
            f"which {self.groups} does not",
        )
        self.check.require(
            self.inputs == taken,
            f"inputs must be {taken}, as many activations as a window of its source has, "
            f"not {self.inputs}",
        )
        return (*self.positions(*shapes), self.outputs)
