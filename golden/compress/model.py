"""A network while it is compressed: weights, masks, codes, and what a step of training does."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from golden import network as machine
from golden.compress.share import codebook_gradient, share
from golden.fixed import quantise
from golden.image import Network

__all__ = ["Free", "Model", "Shared", "accuracy", "image_accuracy"]

# Inputs at a time where no gradients are wanted.
_BATCH = 1000
_LISTS = ("masks", "codes", "codebooks")


@dataclass(eq=False)
class Model:
    """A module, and for each of its layers with weights what compression knows of them.

    Those layers are its :class:`~torch.nn.Linear` and :class:`~torch.nn.Conv2d`, in the order in
    which the module has them.

    Attributes
    ----------
    module : nn.Module
        The network. Its weights are exactly 0 where the mask is False.
    input_shape : tuple of int
        Shape of an input of the module, without the batch: ``(n,)`` or ``(channels, height,
        width)``.
    masks : list of Tensor of bool, each the shape of a layer's weights
        Which weights are kept.
    codes : list of Tensor of int64, each the shape of a layer's weights
        Empty until the weights are shared. Then these are ``codebook[codes]``.
    codebooks : list of Tensor of float32, ``(2**bits,)``
        Empty until the weights are shared.
    """

    module: nn.Module
    input_shape: tuple[int, ...]
    masks: list[Tensor] = field(default_factory=list)
    codes: list[Tensor] = field(default_factory=list)
    codebooks: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        # What oneDNN wants: half the time of a step for convolutions.
        self.module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if not self.masks:
            self.masks = [torch.ones(x.shape, dtype=torch.bool) for x in self.weights]

    @property
    def layers(self) -> dict[str, nn.Linear | nn.Conv2d]:
        """The layers with weights, by name."""
        return {
            name: layer
            for name, layer in self.module.named_modules()
            if isinstance(layer, nn.Linear | nn.Conv2d)
        }

    @property
    def weights(self) -> list[Tensor]:
        """Weights of each layer, ``(outputs, ...)``."""
        return [layer.weight for layer in self.layers.values()]

    @property
    def others(self) -> list[Tensor]:
        """All parameters but those weights."""
        weights = {id(one) for one in self.weights}
        return [one for one in self.module.parameters() if id(one) not in weights]

    @property
    def density(self) -> float:
        """Share of all weights that are kept."""
        kept = sum(int(mask.sum()) for mask in self.masks)
        return kept / sum(mask.numel() for mask in self.masks)

    def inputs(self, x: Tensor) -> Tensor:
        """Flat inputs ``(n, inputs)`` as the module takes them."""
        return x.unflatten(1, self.input_shape)

    def outputs(self, x: Tensor) -> Tensor:
        """What the module makes of flat inputs ``(n, inputs)``, without gradients."""
        with torch.no_grad():
            return torch.cat([self.module(self.inputs(part)) for part in x.split(_BATCH)])

    def share(self, bits: Sequence[int]) -> None:
        """Cluster the weights of each layer; see :func:`golden.compress.share.share`."""
        for weights, mask, width in zip(self.weights, self.masks, bits, strict=True):
            codes, codebook = share(weights, mask, width)
            self.codes.append(codes)
            self.codebooks.append(codebook)
        self.look_up()

    def look_up(self) -> None:
        """Make the weights what the codebooks say."""
        with torch.no_grad():
            for weights, codes, codebook in zip(
                self.weights, self.codes, self.codebooks, strict=True
            ):
                weights.copy_(codebook[codes])

    def tensors(self) -> dict[str, Tensor]:
        """Everything, by names that :meth:`restore` understands."""
        state = self.module.state_dict()
        lists = {
            f"{name}.{index}": tensor
            for name in _LISTS
            for index, tensor in enumerate(getattr(self, name))
        }
        parameters = {f"module.{name}": tensor for name, tensor in state.items()}
        return {name: x.detach().contiguous() for name, x in {**parameters, **lists}.items()}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take up what :meth:`tensors` of a model of the same module gave."""

        def entries(name: str) -> Iterable[Tensor]:
            names = (f"{name}.{index}" for index in itertools.count())
            return map(tensors.__getitem__, itertools.takewhile(tensors.__contains__, names))

        self.module.load_state_dict(
            {
                name.removeprefix("module."): tensor
                for name, tensor in tensors.items()
                if name.startswith("module.")
            }
        )
        for name in _LISTS:
            setattr(self, name, list(entries(name)))


def accuracy(model: Model, x: Tensor, y: Tensor) -> float:
    """Share of the inputs that the float network puts into the right class, 0 to 1.

    Parameters
    ----------
    model : Model
        The network.
    x : Tensor of float32, ``(n, inputs)``
        Inputs.
    y : Tensor of int64, ``(n,)``
        Right classes.
    """
    return _right(model.outputs(x), y)


def image_accuracy(network: Network, x: Tensor, y: Tensor) -> float:
    """Share of the inputs that the integer network puts into the right class, 0 to 1.

    Every input goes through :func:`golden.network.answers`, so this is the accuracy of every
    machine that gives the same bits.

    Parameters
    ----------
    network : golden.image.Network
        The image.
    x : Tensor of float32, ``(n, inputs)``
        Inputs, not yet quantised; those of feature maps with the channels last.
    y : Tensor of int64, ``(n,)``
        Right classes.
    """
    inputs = quantise(x, network.input_radix, network.activation_width)
    return _right(machine.answers(network, inputs), y)


def _right(outputs: Tensor, y: Tensor) -> float:
    # numpy promises the first of equal maxima, which integers do have; torch does not.
    return float(np.mean(np.argmax(outputs.numpy(), axis=1) == y.numpy()))


class Free:
    """Training of weights of their own: dense, or pruned with the pruned ones staying 0.

    Parameters
    ----------
    model : Model
        Trained in place.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.decaying: list[Tensor] = [*model.weights]
        self.steady: list[Tensor] = [*model.others]

    def backward(self, x: Tensor, y: Tensor) -> Tensor:
        """Set the gradients of the parameters for a batch, and return its loss."""
        loss = functional.cross_entropy(self.model.module(self.model.inputs(x)), y)
        loss.backward()
        return loss.detach()

    def settle(self) -> None:
        """Bring the weights back to what they may be, after a step of the optimiser."""
        with torch.no_grad():
            for weights, mask in zip(self.model.weights, self.model.masks, strict=True):
                weights.mul_(mask)


class Shared:
    """Training of shared values and biases: all the weights of a cluster move together.

    Parameters
    ----------
    model : Model
        Trained in place; its weights are shared.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        for weights in model.weights:
            weights.requires_grad_()
        self.decaying: list[Tensor] = []
        self.steady: list[Tensor] = [*model.codebooks, *model.others]

    def backward(self, x: Tensor, y: Tensor) -> Tensor:
        """Set the gradients of the parameters for a batch, and return its loss."""
        model = self.model
        for weights in model.weights:
            weights.grad = None
        loss = functional.cross_entropy(model.module(model.inputs(x)), y)
        loss.backward()
        for weights, codes, codebook in zip(
            model.weights, model.codes, model.codebooks, strict=True
        ):
            assert weights.grad is not None
            codebook.grad = codebook_gradient(weights.grad, codes, len(codebook))
        return loss.detach()

    def settle(self) -> None:
        """Bring the weights back to what they may be, after a step of the optimiser."""
        self.model.look_up()
