"""Small networks of layers of every kind, for devices with feature maps."""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from golden.errors import FitError, ImageError, UnsupportedError
from golden.layers import (
    Addition,
    AveragePooling,
    Concatenation,
    Convolution,
    FullyConnected,
    Layer,
    MaxPooling,
    Network,
    Shape,
)
from hdl.configuration import Configuration
from mapping import Plan, plan

__all__ = ["convolutions", "fitting", "graph"]

_Kind = Callable[[int, Shape], tuple[Layer, tuple[int, ...]]]


def fitting(
    c: Configuration, rng: random.Random, make: Callable[..., Network] | None = None, **options: Any
) -> Plan:
    """A random network, as ``make`` or else :func:`graph` makes it, that fits a device, laid out on
    it."""
    while True:
        try:
            return plan((make or graph)(c, rng, **options), c)
        except (FitError, UnsupportedError):
            pass


def graph(c: Configuration, rng: random.Random, *, layers: int = 6, side: int = 5) -> Network:
    """A random network of layers of any kind, most of them no chains. It may be too large.

    Parameters
    ----------
    c : Configuration
        The device: its widths, and what is a corner case.
    rng : random.Random
        Source of randomness: the same state gives the same network.
    layers : int
        Layers to make. Those that do not lead to the last one are dropped.
    side : int
        Longest side of the input.
    """
    while True:
        sides = rng.choice([(1, 1), (1, side), (side, side), (side, side)])
        channels = rng.randint(1, 2 * c.scan_width + 1)
        shape: Shape = (*(rng.randint(1, most) for most in sides), channels)
        made = _Graph(c, rng, shape if rng.random() < 0.9 else (rng.randint(1, 9),))
        for _ in range(rng.randint(1, layers)):
            made.add()
        try:
            return made.network()
        except ImageError:
            # A shift that is out of range.
            pass


def convolutions(c: Configuration, rng: random.Random, *, side: int = 9) -> Network:
    """A random network of 3x3 convolutions with many weights, for a device with a unit for these.

    Arguments are those of :func:`graph`. A layer of another kind follows, and between two of them
    there may be one.
    """
    while True:
        shape = rng.randint(3, side), rng.randint(3, side), rng.randint(1, 2 * c.scan_width + 1)
        made = _Graph(c, rng, shape)
        for _ in range(rng.randint(1, 3)):
            made.add([made.convolution_on_unit])
            if rng.random() < 0.2:
                made.add()
        made.add([made.fully_connected])
        try:
            return made.network()
        except ImageError:
            # A shift that is out of range.
            pass


class _Graph:
    """A network that grows."""

    def __init__(self, c: Configuration, rng: random.Random, shape: Shape) -> None:
        self.c, self.rng = c, rng
        self.width = rng.choice([8, 16] if c.activation_width == 16 else [8])
        self.radix = self.width // 2
        self.shapes: list[Shape] = [shape]
        self.radixes = [self.radix]
        self.layers: list[Layer] = []
        self.sources: list[tuple[int, ...]] = []

    def network(self) -> Network:
        """What leads to the last layer."""
        needed = {len(self.layers)}
        for number in range(len(self.layers), 0, -1):
            if number in needed:
                needed.update(self.sources[number - 1])
        kept = [number for number in range(1, len(self.layers) + 1) if number in needed]
        places = {number: place for place, number in enumerate([0, *kept])}
        return Network(
            "graph",
            tuple(self.layers[number - 1] for number in kept),
            self.width,
            self.radix,
            input_shape=self.shapes[0],
            sources=tuple(tuple(places[k] for k in self.sources[number - 1]) for number in kept),
        )

    def add(self, kinds: Sequence[_Kind] = ()) -> None:
        """One more layer, of one of the tensors that there are; of the youngest most of all.

        If it has to be one of these ``kinds``, of the youngest.
        """
        rng = self.rng
        number = len(self.shapes) - 1
        if not kinds:
            number = max(0, number - rng.choice([0, 0, 0, 1, 1, 2]))
            kinds = [self._addition, self._concatenation, self.fully_connected]
            if len(self.shapes[number]) == 3:
                kinds += [self._convolution] * 4 + [self._pooling] * 3
        layer, sources = rng.choice(kinds)(number, self.shapes[number])
        try:
            made = layer.output_shape(*(self.shapes[k] for k in sources))
        except ImageError:
            # A window that does not fit.
            return
        self.layers.append(replace(layer, name=f"{layer.kind} {len(self.layers)}"))
        self.sources.append(sources)
        self.shapes.append(made)
        self.radixes.append(layer.output_radix)

    def _channels(self) -> int:
        return self.rng.randint(1, 2 * self.c.scan_width + 1)

    def _common(self, radix: int, *, most: int | None = None) -> dict[str, Any]:
        """Name, activation and radix point, ``most`` or less; often the one that most have."""
        rng = self.rng
        found = self.radix if rng.random() < 0.7 else radix + rng.randint(-3, 3)
        activation = rng.choice(["none", "relu"])
        return {
            "name": "layer",
            "output_radix": found if most is None else min(found, most),
            "activation": activation,
        }

    def _window(self, shape: Shape, *, pooling: bool) -> dict[str, Any]:
        rng = self.rng
        kernel = tuple(min(rng.randint(1, 4), side + 2) for side in shape[:2])
        most = [side - 1 if pooling else 2 for side in kernel * 2]
        padded = rng.random() < 0.5
        return {
            "kernel": kernel,
            "stride": tuple(rng.choice([1, 1, 2, 3]) for _ in range(2)),
            "padding": tuple(rng.randint(0, side) if padded else 0 for side in most),
        }

    def _weights(
        self, outputs: int, inputs: int, radix: int, *, density: float | None = None
    ) -> dict[str, Any]:
        """Fields of a layer with weights whose sums fit the accumulators."""
        c, rng = self.c, self.rng
        code_width = rng.randint(2, min(4, c.code_width))
        numbers = np.random.default_rng(rng.getrandbits(32))
        matrix = numbers.integers(1, 1 << code_width, (outputs, inputs), np.uint8)
        density = rng.choice([0.0, 0.2, 0.5, 0.5, 0.9]) if density is None else density
        matrix *= numbers.random(matrix.shape) < density
        most = int((matrix != 0).sum(axis=1).max(initial=1))
        bits = c.accumulator_width - self.width - most.bit_length() - 2
        bits = min(bits, c.winograd.weight_width if c.winograd else c.weight_width)
        high = 1 << (bits - 1)
        codebook = numbers.integers(-high, high, 1 << code_width)
        codebook[0] = 0
        common = self._common(radix)
        # About as many as make sums of random products fit an activation.
        shift = max(0, bits - 1 + most.bit_length() // 2 - rng.randint(0, 3))
        shift = min(max(shift, radix - common["output_radix"]), c.accumulator_width - 1)
        most_bias = 1 << min(31, c.accumulator_width - 3, self.width + shift)
        return common | {
            "matrix": matrix,
            "codebook": codebook.astype(np.int16),
            "code_width": code_width,
            "weight_radix": common["output_radix"] + shift - radix,
            "bias": numbers.integers(-most_bias, most_bias, outputs).astype(np.int32),
        }

    def _outputs(self) -> int:
        """Rarely more rows than the elements hold at a time."""
        c, rng = self.c, self.rng
        most = c.elements * c.row_depth
        if most <= 40 and rng.random() < 0.2:
            return most + rng.randint(1, c.elements)
        return rng.choice([1, self._channels(), c.elements, rng.randint(1, 2 * c.elements)])

    def convolution_on_unit(self, number: int, shape: Shape) -> tuple[Layer, tuple[int, ...]]:
        """One that the unit for convolutions takes, with many weights."""
        rng, radix = self.rng, self.radixes[number]
        if len(shape) != 3:
            return self.fully_connected(number, shape)
        outputs = rng.randint(1, min(self.c.winograd_channels, 4 * self.c.scan_width))
        weights = self._weights(outputs, 9 * shape[2], radix, density=rng.choice([0.9, 1.0]))
        padding = (0 if min(shape[:2]) > 2 and rng.random() < 0.5 else 1,) * 4
        return Convolution.from_matrix(kernel=(3, 3), padding=padding, **weights), (number,)

    def fully_connected(self, number: int, shape: Shape) -> tuple[Layer, tuple[int, ...]]:
        weights = self._weights(self._outputs(), math.prod(shape), self.radixes[number])
        return FullyConnected.from_matrix(**weights), (number,)

    def _convolution(self, number: int, shape: Shape) -> tuple[Layer, tuple[int, ...]]:
        rng, channels = self.rng, shape[2]
        window = self._window(shape, pooling=False)
        groups, outputs = 1, self._outputs()
        if rng.random() < 0.3:
            groups = rng.choice([n for n in range(1, channels + 1) if channels % n == 0])
            outputs = groups * rng.randint(1, 2)
        inputs = math.prod(window["kernel"]) * channels // groups
        weights = self._weights(outputs, inputs, self.radixes[number])
        return Convolution.from_matrix(groups=groups, **window, **weights), (number,)

    def _pooling(self, number: int, shape: Shape) -> tuple[Layer, tuple[int, ...]]:
        rng, radix = self.rng, self.radixes[number]
        window = self._window(shape, pooling=True) | {"ceil_mode": rng.random() < 0.5}
        if rng.random() < 0.5:
            return MaxPooling(**self._common(radix, most=radix), **window), (number,)
        least = (math.prod(window["kernel"]) - 1).bit_length()
        weight_radix = rng.randint(least, 16)
        layer = AveragePooling(
            **self._common(radix, most=radix + weight_radix),
            **window,
            weight_radix=weight_radix,
            count_padding=rng.random() < 0.5,
        )
        return layer, (number,)

    def _addition(self, number: int, shape: Shape) -> tuple[Layer, tuple[int, ...]]:
        rng = self.rng
        other = rng.choice([k for k, one in enumerate(self.shapes) if one == shape])
        radix = max(self.radixes[number], self.radixes[other])
        sources = rng.choice([(number, other), (other, number)])
        return Addition(**self._common(radix, most=radix)), sources

    def _concatenation(self, number: int, shape: Shape) -> tuple[Layer, tuple[int, ...]]:
        rng, radix = self.rng, self.radixes[number]
        alike = [
            k
            for k, one in enumerate(self.shapes)
            if one[:-1] == shape[:-1] and self.radixes[k] == radix and k != number
        ]
        others = rng.sample(alike, min(len(alike), rng.choice([1, 1, 2]))) or [number]
        sources = [number, *others]
        rng.shuffle(sources)
        common = self._common(radix, most=radix)
        if rng.random() < 0.7:
            common |= {"activation": "none", "output_radix": radix}
        return Concatenation(**common), tuple(sources)
