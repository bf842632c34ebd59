"""Training that gives the same bits every time, and after an interruption too.

Nothing random outlives an epoch: the generator of an epoch is seeded from the recipe's seed, the
stage and the number of the epoch. So weights and the state of the optimiser are all there is to
keep.
"""

import hashlib
import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from golden.compress.model import Free, Shared

__all__ = ["Pictures", "Trainer", "generator"]


def generator(*parts: int | str) -> torch.Generator:
    """A random generator that depends on ``parts`` and nothing else.

    Examples
    --------
    >>> torch.randperm(4, generator=generator(1, "train", 0))
    tensor([2, 1, 0, 3])
    """
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


@dataclass(frozen=True, eq=False)
class Pictures:
    """Training pictures that can be shifted.

    Attributes
    ----------
    padded : Tensor of float32, ``(n, (height + 2 * shift) * (width + 2 * shift))``
        Pictures with a margin of zeros.
    labels : Tensor of int64, ``(n,)``
        Classes.
    window : Tensor of int64, ``(height * width,)``
        Where in a padded picture the unshifted one starts at the top left, pixel by pixel.
    stride : int
        Width of a padded picture.
    shift : int
        Greatest shift along either axis, in pixels.
    """

    padded: Tensor
    labels: Tensor
    window: Tensor
    stride: int
    shift: int

    @classmethod
    def of(cls, x: Tensor, y: Tensor, *, height: int, width: int, shift: int) -> "Pictures":
        """Pictures ``(n, height * width)`` and their classes, to be shifted by up to ``shift``."""
        padded = functional.pad(x.view(-1, height, width), (shift,) * 4).flatten(1)
        stride = width + 2 * shift
        window = (torch.arange(height)[:, None] * stride + torch.arange(width)).flatten()
        return cls(padded, y, window, stride, shift)

    def batch(self, which: Tensor, source: torch.Generator) -> tuple[Tensor, Tensor]:
        """The pictures numbered ``which``, each shifted at random, and their classes."""
        x, y = self.padded[which], self.labels[which]
        if self.shift:
            down, right = torch.randint(2 * self.shift + 1, (2, len(which), 1), generator=source)
            x = x.gather(1, self.window + down * self.stride + right)
        return x, y


class Trainer:
    """Adam with decoupled weight decay, its learning rate falling to 0 along a cosine.

    Parameters
    ----------
    task : Free or Shared
        What is trained.
    pictures : Pictures
        What it is trained on.
    batch : int
        Pictures in a step.
    learning_rate : float
        At the start of the first epoch.
    weight_decay : float
        Taken off each decaying parameter in a step, times the learning rate.
    epochs : int
        After how many epochs the learning rate is 0.
    """

    def __init__(
        self,
        task: Free | Shared,
        pictures: Pictures,
        *,
        batch: int,
        learning_rate: float,
        weight_decay: float,
        epochs: int,
    ) -> None:
        self.task = task
        self.pictures = pictures
        self.batch = batch
        self.learning_rate = learning_rate
        self.steps = epochs * math.ceil(len(pictures.labels) / batch)
        self.parameters = [*task.decaying, *task.steady]
        for parameter in self.parameters:
            parameter.requires_grad_()
        # The fused version takes one pass over the memory where the other takes ten.
        self.adam = torch.optim.AdamW(
            [
                {"params": task.decaying, "weight_decay": weight_decay},
                {"params": task.steady, "weight_decay": 0.0},
            ],
            lr=learning_rate,
            fused=True,
        )

    def epoch(self, number: int, source: torch.Generator) -> float:
        """Take one pass over the pictures.

        Parameters
        ----------
        number : int
            Epochs done before.
        source : torch.Generator
            Decides order and shifts.

        Returns
        -------
        float
            Mean loss, the cross entropy in nats.
        """
        batches = torch.randperm(len(self.pictures.labels), generator=source).split(self.batch)
        total = torch.zeros(())
        for step, which in enumerate(batches, start=number * len(batches)):
            for group in self.adam.param_groups:
                group["lr"] = self.learning_rate * (1 + math.cos(math.pi * step / self.steps)) / 2
            self.adam.zero_grad()
            total += self.task.backward(*self.pictures.batch(which, source)) * len(which)
            self.adam.step()
            self.task.settle()
        return float(total) / len(self.pictures.labels)

    def finish(self) -> None:
        """Leave the parameters as plain tensors."""
        for parameter in self.parameters:
            parameter.requires_grad_(False)
            parameter.grad = None

    def tensors(self) -> dict[str, Tensor]:
        """State of the optimiser, by names that :meth:`restore` understands."""
        return {
            f"adam.{index}.{name}": value.contiguous()
            for index, parameter in enumerate(self.parameters)
            for name, value in self.adam.state[parameter].items()
        }

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take up the state that :meth:`tensors` gave."""
        for index, parameter in enumerate(self.parameters):
            prefix = f"adam.{index}."
            self.adam.state[parameter] = {
                name.removeprefix(prefix): _laid_out_as(parameter, value)
                for name, value in tensors.items()
                if name.startswith(prefix)
            }


def _laid_out_as(parameter: Tensor, value: Tensor) -> Tensor:
    """``value``, in memory as ``parameter`` is if it has its shape: fused steps want that."""
    same = value.shape == parameter.shape
    return torch.empty_like(parameter).detach().copy_(value) if same else value
