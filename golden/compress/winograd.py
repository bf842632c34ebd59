"""Pruning in the Winograd domain: the smaller weight of each pair of channels goes, at each place.

After Liu et al., "Efficient Sparse-Winograd Convolutional Neural Networks", ICLR 2018: weights that
are pruned in their own domain are zeros there no longer once they are transformed, so it is the
transformed ones that are pruned and trained. Those are not what any 3x3 kernel becomes; a network
that has them is one of its own, exact against :func:`golden.winograd.convolve_transformed`.

    network = transformed(network, tile=2)      # the same function
    model = Model(network, input_shape)
    model.masks = pair_masks(model)
    Trainer(Free(model), ...)                   # as for any other pruning
    integers = quantised(network, inputs, tile=2, activation_width=8, weight_width=8)
"""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from golden.compress.fixed_point import activation_radix
from golden.compress.model import Model
from golden.compress.prune import keep_of_each
from golden.fixed import limits, quantise, requantise
from golden.winograd import layer as exact_layer
from golden.winograd import transform

__all__ = [
    "FixedLayer",
    "FixedNetwork",
    "Transformed",
    "keep_pairs",
    "pair_masks",
    "quantised",
    "transformed",
]

_RADIXES = range(-16, 25)


class Transformed(nn.Conv2d):
    """A 3x3 convolution with stride 1 whose weights are in the Winograd domain.

    It computes ``A (W * (B d B')) A' + bias`` for each tile, with the matrices of
    :func:`golden.winograd.transform`; so W is U divided by the square of their scale. What is
    trained, and compared by magnitude, is W over :attr:`scales`, which are as large as G makes
    weights at each place: from place to place, W differs by orders of magnitude.

    Parameters
    ----------
    convolution : nn.Conv2d
        What it is made of: 3x3, stride 1, with a padding of 0 or 1 all around and one group. It
        computes the same, but for rounding, until it is trained.
    tile : int
        A key of :data:`golden.winograd.POINTS`.

    Raises
    ------
    ValueError
        If the convolution is another one.
    """

    def __init__(self, convolution: nn.Conv2d, tile: int) -> None:
        _check(convolution)
        matrices = transform(tile)
        super().__init__(
            convolution.in_channels,
            convolution.out_channels,
            matrices.size,
            padding=convolution.padding,  # type: ignore[arg-type]
            bias=convolution.bias is not None,
        )
        self.tile = tile
        g = torch.tensor(matrices.weights, dtype=torch.float32)
        norms = g.norm(dim=1)
        self.scales: Tensor
        self.register_buffer("scales", norms[:, None] * norms / matrices.scale**2)
        with torch.no_grad():
            self.weight.copy_(g @ convolution.weight @ g.T / (norms[:, None] * norms))
            if self.bias is not None and convolution.bias is not None:
                self.bias.copy_(convolution.bias)

    @property
    def in_domain(self) -> Tensor:
        """W, ``(kernels, channels, size, size)``."""
        return self.weight * self.scales

    def forward(self, input: Tensor) -> Tensor:
        matrices = transform(self.tile)
        b, a = (torch.tensor(x, dtype=input.dtype) for x in (matrices.inputs, matrices.outputs))
        lost = 2 - 2 * int(self.padding[0])
        rows, columns = (length - lost for length in input.shape[2:])
        pads = [int(self.padding[0])] * 4
        pads[3] += -rows % self.tile
        pads[1] += -columns % self.tile
        windows = functional.pad(input, pads).unfold(2, matrices.size, self.tile)
        values = b @ windows.unfold(3, matrices.size, self.tile) @ b.T
        # A product of matrices for each place.
        batch, channels, high, wide = values.shape[:4]
        flat = values.permute(4, 5, 1, 0, 2, 3).reshape(matrices.size**2, channels, -1)
        sums = self.in_domain.permute(2, 3, 0, 1).flatten(0, 1) @ flat
        tiles = sums.view(matrices.size, matrices.size, -1, batch, high, wide)
        results = a @ tiles.permute(3, 2, 4, 5, 0, 1) @ a.T
        whole = results.transpose(3, 4).reshape(batch, -1, high * self.tile, wide * self.tile)
        whole = whole[:, :, :rows, :columns]
        return whole if self.bias is None else whole + self.bias[:, None, None]


def transformed(network: nn.Sequential, tile: int) -> nn.Sequential:
    """A copy of a network with the weights of its convolutions in the Winograd domain.

    Parameters
    ----------
    network : nn.Sequential
        Its convolutions of an even number of channels are to be as :class:`Transformed` takes them.
    tile : int
        A key of :data:`golden.winograd.POINTS`.

    Returns
    -------
    nn.Sequential
        It computes the same, but for rounding. Convolutions of an odd number of channels, as the
        first one often is, stay as they are.
    """
    network = copy.deepcopy(network)
    for name, module in network.named_children():
        if isinstance(module, nn.Conv2d) and module.in_channels % 2 == 0:
            setattr(network, name, Transformed(module, tile))
    return network


def keep_pairs(weights: Tensor) -> Tensor:
    """The greater weight of each pair of channels, at each place.

    Parameters
    ----------
    weights : Tensor of float32, ``(kernels, channels, size, size)``
        Weights in the Winograd domain, of an even number of channels.

    Returns
    -------
    Tensor of bool, the shape of ``weights``
        True for half of them. Of equally great weights the first is kept.

    Raises
    ------
    ValueError
        If the number of channels is odd.

    Examples
    --------
    >>> keep_pairs(torch.tensor([0.5, -3.0, 1.0, 0.0]).view(1, 4, 1, 1)).flatten()
    tensor([False,  True,  True, False])
    """
    if weights.shape[1] % 2:
        raise ValueError(f"channels must be even, not {weights.shape[1]}")
    columns = weights.transpose(0, 1)
    mask = keep_of_each(columns.flatten(1), 1, 2)
    return mask.view(columns.shape).transpose(0, 1)


def pair_masks(model: Model) -> list[Tensor]:
    """Masks of a model that leave one of each pair of channels in all that is transformed."""
    return [
        keep_pairs(layer.weight) if isinstance(layer, Transformed) else mask
        for layer, mask in zip(model.layers.values(), model.masks, strict=True)
    ]


@dataclass(frozen=True, eq=False, kw_only=True)
class FixedLayer:
    """A layer with weights, in integers.

    Attributes
    ----------
    weights : Tensor of int64
        Of a convolution as :func:`golden.winograd.layer` takes them, 3x3 or in the Winograd domain;
        or ``(outputs, inputs)``.
    bias : Tensor of int64, ``(kernels,)`` or ``(outputs,)``
        Added to the sums, and as fine as these.
    shift : int
        Bits to drop from a sum.
    activation : str
        ``"none"`` or ``"relu"``.
    activation_width, weight_width : int
        Bits.
    tile, padding
        Of a convolution, as of :func:`golden.winograd.convolve`.
    """

    weights: Tensor
    bias: Tensor
    shift: int
    activation: str
    activation_width: int
    weight_width: int
    tile: int = 2
    padding: str = "same"

    def __call__(self, inputs: Tensor) -> Tensor:
        """Output activations, int64, of input activations."""
        if self.weights.dim() == 2:
            sums = inputs @ self.weights.T + self.bias
            return requantise(sums, self.shift, *limits(self.activation_width, self.activation))
        return exact_layer(
            inputs,
            self.weights,
            self.bias,
            tile=self.tile,
            padding=self.padding,
            shift=self.shift,
            activation=self.activation,
            activation_width=self.activation_width,
            weight_width=self.weight_width,
        )[1]


@dataclass(frozen=True, eq=False)
class FixedNetwork:
    """A network in integers: what a device that takes its layers has to give, bit by bit.

    Attributes
    ----------
    steps : list
        A :class:`FixedLayer`, an ``nn.MaxPool2d`` or an ``nn.Flatten`` each.
    input_radix : int
        Fraction bits of the inputs.
    activation_width : int
        Bits of an activation.
    """

    steps: list[FixedLayer | nn.Module]
    input_radix: int
    activation_width: int

    def run(self, inputs: Tensor) -> list[Tensor]:
        """Activations, int64: the inputs, and what each step makes of those before it.

        Parameters
        ----------
        inputs : Tensor of float32, ``(batch, channels, height, width)``
        """
        activations = [quantise(inputs, self.input_radix, self.activation_width)]
        for step in self.steps:
            if isinstance(step, FixedLayer):
                activations.append(step(activations[-1]))
            else:
                # Integers of so few bits are exact in float64, and PyTorch pools no others.
                activations.append(step(activations[-1].double()).to(torch.int64))
        return activations


def quantised(
    network: nn.Sequential, inputs: Tensor, *, tile: int, activation_width: int, weight_width: int
) -> FixedNetwork:
    """The network in integers.

    Parameters
    ----------
    network : nn.Sequential
        Of :class:`Transformed`, such ``nn.Conv2d`` as can be, ``nn.Linear``, ``nn.ReLU`` behind one
        of these, ``nn.MaxPool2d`` and ``nn.Flatten``.
    inputs : Tensor of float32, ``(batch, channels, height, width)``
        Some, to choose radix points by: of activations and of each layer's weights the one that
        represents them best.
    tile : int
        For all convolutions.
    activation_width, weight_width : int
        Bits; see :func:`golden.winograd.widths` for what multipliers take. Weights of a transformed
        layer have so many in the Winograd domain.

    Raises
    ------
    TypeError
        If there is a module of another type, or an ``nn.ReLU`` elsewhere.
    ValueError
        If a convolution is another one.
    """
    input_radix = radix = activation_radix(inputs, activation_width, _RADIXES)
    modules = list(network)
    steps: list[FixedLayer | nn.Module] = []
    weighted = False
    for module, behind in zip(modules, [*modules[1:], None], strict=True):
        if isinstance(module, nn.Conv2d) and not isinstance(module, Transformed):
            _check(module)
        with torch.no_grad():
            inputs = module(inputs)
        before, weighted = weighted, isinstance(module, nn.Conv2d | nn.Linear)
        if isinstance(module, nn.Conv2d | nn.Linear):
            rectified = isinstance(behind, nn.ReLU)
            outputs = inputs.relu() if rectified else inputs
            step, radix = _fixed(
                module, outputs, radix, rectified, tile, activation_width, weight_width
            )
            steps.append(step)
        elif isinstance(module, nn.MaxPool2d | nn.Flatten):
            steps.append(module)
        elif not (isinstance(module, nn.ReLU) and before):
            raise TypeError(
                "network must be of convolutions, linear layers, ReLU behind one of these, "
                f"MaxPool2d and Flatten, not {module!r}"
            )
    return FixedNetwork(steps, input_radix, activation_width)


def _fixed(
    module: nn.Conv2d | nn.Linear,
    outputs: Tensor,
    input_radix: int,
    rectified: bool,
    tile: int,
    activation_width: int,
    weight_width: int,
) -> tuple[FixedLayer, int]:
    """A layer in integers, and the radix point of what it puts out."""
    weights = (module.in_domain if isinstance(module, Transformed) else module.weight).detach()
    weight_radix = activation_radix(weights, weight_width, _RADIXES)
    radix = input_radix + weight_radix
    output_radix = min(activation_radix(outputs, activation_width, _RADIXES), radix)
    bias = torch.zeros(len(weights)) if module.bias is None else module.bias.detach()
    padded = isinstance(module, nn.Conv2d) and module.padding[0] == 1
    layer = FixedLayer(
        weights=quantise(weights, weight_radix, weight_width),
        bias=quantise(bias, radix, 32),
        shift=radix - output_radix,
        activation="relu" if rectified else "none",
        activation_width=activation_width,
        weight_width=weight_width,
        tile=tile,
        padding="same" if padded else "valid",
    )
    return layer, output_radix


def _check(convolution: nn.Conv2d) -> None:
    """Refuse what is not 3x3 with stride 1, one group, and a padding of 0 or 1 with zeros."""
    fits = (
        convolution.kernel_size == (3, 3)
        and convolution.stride == convolution.dilation == (1, 1)
        and convolution.groups == 1
        and convolution.padding in ((0, 0), (1, 1))
        and convolution.padding_mode == "zeros"
    )
    if not fits:
        raise ValueError(
            "convolution must be 3x3 with stride 1, a padding of 0 or 1 and one group, "
            f"not {convolution!r}"
        )
