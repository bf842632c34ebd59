"""A network while it is compressed: weights, masks, codes, and what a step of training does."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from golden import network as machine
from golden.compress.share import codebook_gradient
from golden.fixed import quantise
from golden.image import Network

__all__ = ["Free", "Model", "Shared", "accuracy", "forward", "image_accuracy"]


@dataclass(eq=False)
class Model:
    """Fully connected layers with a ReLU after each but the last; one entry per layer in each list.

    Attributes
    ----------
    weights : list of Tensor of float32, ``(outputs, inputs)``
        Exactly 0 where the mask is False.
    biases : list of Tensor of float32, ``(outputs,)``
    masks : list of Tensor of bool, ``(outputs, inputs)``
        Which weights are kept.
    codes : list of Tensor of int64, ``(outputs, inputs)``
        Empty until the weights are shared. Then ``weights`` is ``codebook[codes]``.
    codebooks : list of Tensor of float32, ``(2**bits,)``
        Empty until the weights are shared.
    """

    weights: list[Tensor]
    biases: list[Tensor]
    masks: list[Tensor]
    codes: list[Tensor]
    codebooks: list[Tensor]

    @classmethod
    def of(cls, network: nn.Sequential) -> "Model":
        """A model with copies of the weights of ``network``, all of them kept."""
        layers = [module for module in network if isinstance(module, nn.Linear)]
        return cls(
            weights=[layer.weight.detach().clone() for layer in layers],
            biases=[layer.bias.detach().clone() for layer in layers],
            masks=[torch.ones(layer.weight.shape, dtype=torch.bool) for layer in layers],
            codes=[],
            codebooks=[],
        )

    @property
    def density(self) -> float:
        """Share of all weights that are kept."""
        kept = sum(int(mask.sum()) for mask in self.masks)
        return kept / sum(mask.numel() for mask in self.masks)

    def tensors(self) -> dict[str, Tensor]:
        """Everything, by names that :meth:`from_tensors` understands."""
        return {
            f"{field}.{index}": tensor.detach()
            for field, tensors in vars(self).items()
            for index, tensor in enumerate(tensors)
        }

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> "Model":
        """The model that :meth:`tensors` took apart."""

        def entries(field: str) -> Iterable[Tensor]:
            names = (f"{field}.{index}" for index in itertools.count())
            return map(tensors.__getitem__, itertools.takewhile(tensors.__contains__, names))

        return cls(**{field: list(entries(field)) for field in cls.__dataclass_fields__})


def forward(weights: Sequence[Tensor], biases: Sequence[Tensor], x: Tensor) -> list[Tensor]:
    """Output of every layer, after its ReLU if it has one.

    Parameters
    ----------
    weights, biases : sequence of Tensor of float32
        As in :class:`Model`.
    x : Tensor of float32, ``(batch, inputs)``
        Inputs.

    Returns
    -------
    list of Tensor of float32, ``(batch, outputs)`` each
    """
    outputs: list[Tensor] = []
    for index, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        x = functional.linear(x, weight, bias)
        if index < len(weights) - 1:
            x = x.relu()
        outputs.append(x)
    return outputs


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
    with torch.no_grad():
        return _right(forward(model.weights, model.biases, x)[-1], y)


def image_accuracy(network: Network, x: Tensor, y: Tensor) -> float:
    """Share of the inputs that the integer network puts into the right class, 0 to 1.

    Every input goes through :func:`golden.network.answers`, so this is the accuracy of every
    machine that gives the same bits.

    Parameters
    ----------
    network : golden.image.Network
        The image.
    x : Tensor of float32, ``(n, inputs)``
        Inputs, not yet quantised.
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
        self.decaying = model.weights
        self.steady = model.biases

    def backward(self, x: Tensor, y: Tensor) -> Tensor:
        """Set the gradients of the parameters for a batch, and return its loss."""
        logits = forward(self.model.weights, self.model.biases, x)[-1]
        loss = functional.cross_entropy(logits, y)
        loss.backward()
        return loss.detach()

    def settle(self) -> None:
        """Bring the weights back to what they may be, after a step of the optimiser."""
        with torch.no_grad():
            for weight, mask in zip(self.model.weights, self.model.masks, strict=True):
                weight.mul_(mask)


class Shared:
    """Training of shared values and biases: all the weights of a cluster move together.

    Parameters
    ----------
    model : Model
        Trained in place; its weights are shared.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.decaying: list[Tensor] = []
        self.steady = [*model.codebooks, *model.biases]

    def backward(self, x: Tensor, y: Tensor) -> Tensor:
        """Set the gradients of the parameters for a batch, and return its loss."""
        model = self.model
        weights = [weight.detach().requires_grad_() for weight in model.weights]
        loss = functional.cross_entropy(forward(weights, model.biases, x)[-1], y)
        loss.backward()
        for weight, codes, codebook in zip(weights, model.codes, model.codebooks, strict=True):
            assert weight.grad is not None
            codebook.grad = codebook_gradient(weight.grad, codes, len(codebook))
        return loss.detach()

    def settle(self) -> None:
        """Bring the weights back to what they may be, after a step of the optimiser."""
        with torch.no_grad():
            for weight, codes, codebook in zip(
                self.model.weights, self.model.codes, self.model.codebooks, strict=True
            ):
                weight.copy_(codebook[codes])
