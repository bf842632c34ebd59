"""A compressed network: its layers, and what makes them fit together."""

import operator
from dataclasses import dataclass
from typing import Any

import numpy as np

from golden.errors import ImageError, brief

__all__ = [
    "ACTIVATIONS",
    "MAX_LAYERS",
    "MAX_NONZEROS",
    "MAX_SHIFT",
    "MAX_SIDE",
    "Layer",
    "Network",
]

# Bounds of the format. Whatever claims more is refused before memory is set aside for it.
MAX_LAYERS = 1024
MAX_SIDE = 2**20
MAX_NONZEROS = 2**24
MAX_NAME = 128
# The widest accumulator of a device has 48 bits.
MAX_SHIFT = 47
ACTIVATIONS = ("none", "relu")


@dataclass(frozen=True, eq=False)
class Layer:
    """A fully connected layer: non-zero weights as codes into a codebook, column by column.

    Construction checks every field against the others.

    Parameters
    ----------
    name : str
        Printable, 1 to 128 characters.
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
    output_radix : int
        Fraction bits of an output activation, -16 to 31.
    activation : str
        ``"none"`` or ``"relu"``.

    Raises
    ------
    ImageError
        If a field is wrong. The message names the layer and the field.
    """

    name: str
    codes: np.ndarray
    rows: np.ndarray
    column_starts: np.ndarray
    codebook: np.ndarray
    code_width: int
    weight_radix: int
    bias: np.ndarray
    output_radix: int
    activation: str

    def __post_init__(self) -> None:
        check = _Check(f"layer {brief(self.name)}: ")
        check.name(self)
        check.whole(self, "code_width", 2, 8)
        check.whole(self, "weight_radix", 0, 31)
        check.whole(self, "output_radix", -16, 31)
        check.require(
            isinstance(self.activation, str) and self.activation in ACTIVATIONS,
            f"activation must be one of {ACTIVATIONS}, not {brief(self.activation)}",
        )
        check.vector(self, "bias", np.int32, 1, MAX_SIDE)
        check.vector(self, "column_starts", np.int64, 2, MAX_SIDE + 1)
        check.vector(self, "codes", np.uint8, 0, MAX_NONZEROS)
        check.vector(self, "rows", np.int32, len(self.codes), len(self.codes))
        check.vector(self, "codebook", np.int16, 2**self.code_width, 2**self.code_width)
        self._check_weights(check)

    def _check_weights(self, check: "_Check") -> None:
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
    def from_matrix(
        cls,
        name: str,
        matrix: np.ndarray,
        *,
        codebook: np.ndarray,
        code_width: int,
        weight_radix: int,
        bias: np.ndarray,
        output_radix: int,
        activation: str,
    ) -> "Layer":
        """The layer whose codes lie in ``matrix``, uint8 ``(outputs, inputs)``, 0 for no weight."""
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
            codebook=codebook,
            code_width=code_width,
            weight_radix=weight_radix,
            bias=bias,
            output_radix=output_radix,
            activation=activation,
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

    def accumulator_bits(self, activation_width: int) -> int:
        """Bits of a two's complement accumulator that no input can overflow.

        The bound, over all rows, is ``|bias| + sum(|weight|) * 2**(activation_width - 1)``; no
        partial sum exceeds it either, in whatever order the products are added.
        """
        magnitudes = np.abs(self.codebook.astype(np.float64))[self.codes]
        sums = np.bincount(self.rows, magnitudes, self.outputs).astype(np.int64)
        bounds = np.abs(self.bias.astype(np.int64)) + (sums << (activation_width - 1))
        return int(bounds.max()).bit_length() + 1


@dataclass(frozen=True, eq=False)
class Network:
    """Layers in the order they are computed, and how activations are represented.

    Construction checks that the layers fit together.

    Parameters
    ----------
    name : str
        Printable, 1 to 128 characters.
    layers : tuple of Layer
        1 to 1024 of them, with names of their own; each takes what the one before puts out.
    activation_width : int
        Bits of every activation, 8 or 16.
    input_radix : int
        Fraction bits of an input activation, 0 to ``activation_width - 1``.
    known_inputs : ndarray of int16, ``(n, inputs)``, or None
        Inputs whose answers are known.
    known_outputs : ndarray of int16, ``(n, outputs)``, or None
        The answers. Given with ``known_inputs``, or not at all.

    Raises
    ------
    ImageError
        If a field is wrong. The message names the field, and the layer where there is one.
    """

    name: str
    layers: tuple[Layer, ...]
    activation_width: int
    input_radix: int
    known_inputs: np.ndarray | None = None
    known_outputs: np.ndarray | None = None

    def __post_init__(self) -> None:
        check = _Check("")
        check.name(self)
        object.__setattr__(self, "layers", tuple(self.layers))
        count = len(self.layers)
        check.require(
            1 <= count <= MAX_LAYERS, f"layers must be 1 to {MAX_LAYERS} in number, not {count}"
        )
        for layer in self.layers:
            check.require(
                isinstance(layer, Layer), f"layers must consist of Layer, not {brief(layer)}"
            )
        check.whole(self, "activation_width", 8, 16)
        check.require(
            self.activation_width in (8, 16),
            f"activation_width must be 8 or 16, not {self.activation_width}",
        )
        check.whole(self, "input_radix", 0, self.activation_width - 1)
        self._check_chain()
        self._check_known(check)

    def _check_chain(self) -> None:
        nonzeros = 0
        names = set()
        outputs = self.inputs
        for layer, shift in zip(self.layers, self.shifts, strict=True):
            check = _Check(f"layer {layer.name!r}: ")
            check.require(layer.name not in names, "name must differ from that of other layers")
            check.require(
                layer.inputs == outputs,
                f"inputs must be {outputs}, as many as the layer before puts out, "
                f"not {layer.inputs}",
            )
            check.require(
                0 <= shift <= MAX_SHIFT,
                f"output_radix must make the shift 0 to {MAX_SHIFT}, not {shift}",
            )
            nonzeros += layer.nonzeros
            check.require(
                nonzeros <= MAX_NONZEROS,
                f"codes must bring the network's non-zeros to at most {MAX_NONZEROS}, "
                f"not {nonzeros}",
            )
            names.add(layer.name)
            outputs = layer.outputs

    def _check_known(self, check: "_Check") -> None:
        if self.known_inputs is None and self.known_outputs is None:
            return
        known = ("known_inputs", self.known_inputs), ("known_outputs", self.known_outputs)
        for name, array in known:
            check.require(
                isinstance(array, np.ndarray) and array.dtype == np.int16 and array.ndim == 2,
                f"{name} must be of dtype int16 and two-dimensional",
            )
        assert self.known_inputs is not None
        assert self.known_outputs is not None
        count = len(self.known_inputs)
        high = 2 ** (self.activation_width - 1) - 1
        low = 0 if self.layers[-1].activation == "relu" else -high - 1
        for name, array, side, lowest in (
            ("known_inputs", self.known_inputs, self.inputs, -high - 1),
            ("known_outputs", self.known_outputs, self.outputs, low),
        ):
            check.require(
                count >= 1 and array.shape == (count, side),
                f"{name} must be of shape ({max(1, count)}, {side}), not {array.shape!r}",
            )
            check.require(
                lowest <= int(array.min()) and int(array.max()) <= high,
                f"{name} must lie within {lowest} to {high}, "
                f"not {int(array.min())} to {int(array.max())}",
            )

    @property
    def inputs(self) -> int:
        """Number of input activations."""
        return self.layers[0].inputs

    @property
    def outputs(self) -> int:
        """Number of output activations."""
        return self.layers[-1].outputs

    @property
    def shifts(self) -> tuple[int, ...]:
        """For each layer, the fraction bits that an accumulator has more than an output."""
        shifts = []
        radix = self.input_radix
        for layer in self.layers:
            shifts.append(radix + layer.weight_radix - layer.output_radix)
            radix = layer.output_radix
        return tuple(shifts)


class _Check:
    """Refusals that start with the name of a layer."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix

    def require(self, fulfilled: bool, message: str) -> None:
        if not fulfilled:
            raise ImageError(self.prefix + message)

    def name(self, owner: Any) -> None:
        name = owner.name
        self.require(
            isinstance(name, str) and 1 <= len(name) <= MAX_NAME and name.isprintable(),
            f"name must be 1 to {MAX_NAME} printable characters, not {brief(name)}",
        )

    def whole(self, owner: Any, field: str, low: int, high: int) -> None:
        """Turns the field into an int."""
        value = getattr(owner, field)
        try:
            whole = low - 1 if isinstance(value, bool) else operator.index(value)
        except TypeError:
            whole = low - 1
        self.require(
            low <= whole <= high,
            f"{field} must be an integer from {low} to {high}, not {brief(value)}",
        )
        object.__setattr__(owner, field, whole)

    def vector(self, owner: Any, field: str, dtype: type, low: int, high: int) -> None:
        array = getattr(owner, field)
        self.require(
            isinstance(array, np.ndarray) and array.dtype == dtype and array.ndim == 1,
            f"{field} must be a vector of {np.dtype(dtype).name}",
        )
        many = str(low) if low == high else f"{low} to {high}"
        self.require(
            low <= len(array) <= high, f"{field} must have {many} elements, not {len(array)}"
        )
