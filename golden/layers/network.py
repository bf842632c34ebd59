"""A network: layers, what each of them takes, and how activations are represented."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from golden.errors import brief
from golden.layers.base import Layer, Shape
from golden.layers.check import (
    MAX_ACTIVATIONS,
    MAX_LAYERS,
    MAX_NONZEROS,
    MAX_SHIFT,
    MAX_TENSOR,
    Check,
)
from golden.layers.weighted import FullyConnected, Weighted

__all__ = ["Network"]


@dataclass(frozen=True, eq=False)
class Network:
    """Layers in the order they are computed, and how activations are represented.

    Tensor 0 is the network's input, and tensor ``k`` what the ``k``-th layer puts out, counted from
    1; the last of them is the network's output. Construction checks that the layers fit together.

    Parameters
    ----------
    name : str
        Printable, 1 to 128 characters.
    layers : tuple of Layer
        1 to 1024 of them, with names of their own.
    activation_width : int
        Bits of every activation, 8 or 16.
    input_radix : int
        Fraction bits of an input activation, 0 to ``activation_width - 1``.
    known_inputs : ndarray of int16, ``(n, inputs)``, or None
        Inputs whose answers are known.
    known_outputs : ndarray of int16, ``(n, outputs)``, or None
        The answers. Given with ``known_inputs``, or not at all.
    input_shape : tuple of int
        Shape of an input, ``(n,)`` or ``(height, width, channels)``. It can be left out if the
        network starts with a fully connected layer: a vector of as many activations as that takes.
    sources : tuple of tuple of int
        For each layer, the tensors it takes, all before its own. It can be left out if each takes
        the one before.

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
    input_shape: Shape = ()
    sources: tuple[tuple[int, ...], ...] = ()

    def __post_init__(self) -> None:
        check = Check("")
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
        self._check_input(check)
        self._check_sources(check)
        self._check_layers()
        self._check_known(check)

    def _check_input(self, check: Check) -> None:
        first, shape = self.layers[0], self.input_shape
        if shape == () and isinstance(first, FullyConnected):
            shape = (first.inputs,)
        shape = check.wholes("input_shape", shape, (1, 3), 1, MAX_TENSOR)
        check.require(
            math.prod(shape) <= MAX_TENSOR,
            f"input_shape must make at most {MAX_TENSOR} activations, not {math.prod(shape)}",
        )
        object.__setattr__(self, "input_shape", shape)

    def _check_sources(self, check: Check) -> None:
        """Each layer takes tensors before its own, and all are taken but for the last."""
        count = len(self.layers)
        given = self.sources
        if given == ():
            given = tuple((k,) for k in range(count))
        check.require(
            isinstance(given, tuple | list) and len(given) == count,
            f"sources must be a list of {count}, one for each layer",
        )
        sources = []
        unused = set(range(1, count))
        for k, (layer, own) in enumerate(zip(self.layers, given, strict=True)):
            least, most = layer.sources
            own = layer.check.wholes("sources", own, range(least, most + 1), 0, k)
            sources.append(own)
            unused.difference_update(own)
        object.__setattr__(self, "sources", tuple(sources))
        if unused:
            self.layers[min(unused) - 1].check.require(
                False, "must be among the sources of a layer behind it"
            )

    def _check_layers(self) -> None:
        names = set()
        for layer in self.layers:
            layer.check.require(
                layer.name not in names, "name must differ from that of other layers"
            )
            names.add(layer.name)
        nonzeros = activations = 0
        for layer, shape, shift in zip(self.layers, self.shapes[1:], self.shifts, strict=True):
            check = layer.check
            size = math.prod(shape)
            check.require(
                size <= MAX_TENSOR, f"outputs must be at most {MAX_TENSOR} activations, not {size}"
            )
            activations += size
            check.require(
                activations <= MAX_ACTIVATIONS,
                f"outputs must bring the network's activations to at most {MAX_ACTIVATIONS}, "
                f"not {activations}",
            )
            check.require(
                0 <= shift <= MAX_SHIFT,
                f"output_radix must make the shift 0 to {MAX_SHIFT}, not {shift}",
            )
            nonzeros += layer.nonzeros if isinstance(layer, Weighted) else 0
            check.require(
                nonzeros <= MAX_NONZEROS,
                f"codes must bring the network's non-zeros to at most {MAX_NONZEROS}, "
                f"not {nonzeros}",
            )

    def _check_known(self, check: Check) -> None:
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
        return math.prod(self.shapes[0])

    @property
    def outputs(self) -> int:
        """Number of output activations."""
        return math.prod(self.shapes[-1])

    @property
    def activations(self) -> int:
        """Number of activations of all tensors together."""
        return sum(map(math.prod, self.shapes))

    @cached_property
    def shapes(self) -> tuple[Shape, ...]:
        """Shape of each tensor, that of the input first."""
        shapes = [self.input_shape]
        for layer, own in zip(self.layers, self.sources, strict=True):
            shapes.append(layer.output_shape(*(shapes[k] for k in own)))
        return tuple(shapes)

    @cached_property
    def radixes(self) -> tuple[int, ...]:
        """Fraction bits of each tensor, those of the input first."""
        return (self.input_radix, *(layer.output_radix for layer in self.layers))

    @cached_property
    def shifts(self) -> tuple[int, ...]:
        """For each layer, the fraction bits that an accumulator has more than an output."""
        return tuple(
            layer.accumulator_radix(*(self.radixes[k] for k in own)) - layer.output_radix
            for layer, own in zip(self.layers, self.sources, strict=True)
        )

    @property
    def accumulator_bits(self) -> tuple[int, ...]:
        """For each layer, bits of an accumulator that no input can overflow."""
        return tuple(
            layer.accumulator_bits(self.activation_width, *(self.radixes[k] for k in own))
            for layer, own in zip(self.layers, self.sources, strict=True)
        )
