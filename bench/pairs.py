"""What pruning in the Winograd domain costs in accuracy, and what it saves in steps.

A small network of 3x3 convolutions learns the handwritten digits inside scikit-learn. Then the
weights of those of an even number of channels go to the Winograd domain, a half of them is pruned
there, and the rest is trained again; for each tile in three ways, alike but for the masks:

``whole``
    Nothing is pruned.
``anywhere``
    The smaller half of a layer's weights, wherever they are: what a unit could use in which each
    multiplier skips the zeros of its own.
``pairs``
    The smaller one of each pair of channels, at each position.
"""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from golden.compress.model import Free, Model, accuracy
from golden.compress.prune import keep
from golden.compress.train import Pictures, Trainer, generator
from golden.compress.winograd import (
    FixedLayer,
    FixedNetwork,
    Transformed,
    pair_masks,
    quantised,
    transformed,
)
from golden.errors import MismatchError
from golden.fixed import limits
from golden.nets.chain import chain
from golden.nets.data import Dataset, load_dataset
from mapping.winograd import Convolution, predict
from sim.winograd import CompiledUnit, Layer

__all__ = ["NETWORK", "PICTURES", "WEIGHTS", "most", "on_unit", "run"]

NETWORK = (
    *("8x8", "conv 3x3 16 same", "conv 3x3 16 same", "max 2x2"),
    *("conv 3x3 32 same", "max 2x2", 10),
)
# Passes over the training pictures, and rates of learning at their start.
TRAINING, RETRAINING = (20, 0.005), (8, 0.001)
# Bits of a weight in the Winograd domain, by tile. Large tiles have large weights and small ones.
WEIGHTS = {2: 8, 4: 12}
# Kernels of a unit, at a time.
KERNELS = {2: 8, 4: 4}
PICTURES = 4


def anywhere(model: Model) -> list[Tensor]:
    return [
        keep(layer.weight, 0.5) if isinstance(layer, Transformed) else mask
        for layer, mask in zip(model.layers.values(), model.masks, strict=True)
    ]


MASKS: dict[str, Callable[[Model], list[Tensor]]] = {
    "whole": lambda model: model.masks,
    "anywhere": anywhere,
    "pairs": pair_masks,
}


def run(units: dict[int, CompiledUnit]) -> list[dict[str, Any]]:
    """Train all of them; those with pairs run on the RTL.

    Parameters
    ----------
    units : dict of CompiledUnit
        By tile, each with weights of so many bits as :data:`WEIGHTS` has it.

    Returns
    -------
    list of dict
        ``accuracy`` of the float network and ``integers``, that of the integer one, of test
        pictures. ``steps`` that a group of kernels takes for a tile, on the average, of the pruned
        layers together: the weights of the multiplier that has the most, or pairs. ``cycles`` that
        these layers took on the RTL for :data:`PICTURES` pictures.

    Raises
    ------
    MismatchError
        If an activation of the RTL is not the golden model's, or cycles are not as predicted.
    """
    data = load_dataset("digits")
    # A network this small only loses by being split; and sums come out alike everywhere.
    torch.set_num_threads(1)
    torch.manual_seed(1)
    dense = Model(chain(NETWORK), (1, data.height, data.width))
    _train(dense, data, "train", *TRAINING)
    whole = _integers(dense, data, tile=2, weight_width=8)
    rows = [{"tile": None, "masks": "3x3", **_accuracies(dense, data, whole)}]
    for tile, unit in units.items():
        for name, masks in MASKS.items():
            assert isinstance(dense.module, nn.Sequential)
            model = Model(transformed(dense.module, tile), dense.input_shape)
            model.masks = masks(model)
            _train(model, data, f"retrain {tile} {name}", *RETRAINING)
            integers = _integers(model, data, tile, WEIGHTS[tile])
            row = {"tile": tile, "masks": name, **_accuracies(model, data, integers)}
            row["steps"] = sum(
                layer.in_channels / 2 if name == "pairs" else most(mask, KERNELS[tile])
                for layer, mask in zip(model.layers.values(), model.masks, strict=True)
                if isinstance(layer, Transformed)
            )
            if name == "pairs":
                row["cycles"] = on_unit(unit, integers, model.inputs(data.test_x[:PICTURES]))
            rows.append(row)
            print(f"F{tile}, {name}: trained", file=sys.stderr, flush=True)
    return rows


def most(mask: Tensor, kernels: int) -> float:
    """Weights of the multiplier that has the most, of so many kernels at a time; their mean.

    Parameters
    ----------
    mask : Tensor of bool, ``(kernels, channels, size, size)``
        Which weights there are.
    kernels : int
        A multiplier for each position of each of these.

    Examples
    --------
    >>> mask = torch.ones(4, 6, 4, 4, dtype=torch.bool)
    >>> mask[1:, 0] = False
    >>> most(mask, 2)
    5.5
    """
    counts = mask.sum(dim=1).flatten(1).amax(dim=1)
    return float(np.mean([int(part.max()) for part in counts.split(kernels)]))


def on_unit(unit: CompiledUnit, network: FixedNetwork, pictures: Tensor) -> int:
    """Run the paired layers on the RTL, and compare each activation; gives all cycles."""
    activations = network.run(pictures)
    cycles = 0
    for step, inputs, outputs in zip(network.steps, activations, activations[1:], strict=False):
        if (
            not isinstance(step, FixedLayer)
            or step.weights.shape[2:] != (unit.parameters.size,) * 2
        ):
            continue
        for taken, made in zip(inputs.numpy(), outputs.numpy(), strict=True):
            layer = _layer(step, taken)
            result = unit.run([layer])
            assert result is not None
            if not np.array_equal(result.outputs[0], made):
                raise MismatchError(f"results differ: {layer.convolution}")
            if result.busy[0] != predict(layer.convolution, unit.parameters).cycles:
                raise MismatchError(f"cycles differ: {layer.convolution}")
            cycles += int(result.busy[0])
    return cycles


def _layer(step: FixedLayer, inputs: np.ndarray) -> Layer:
    channels, height, width = inputs.shape
    low, high = limits(step.activation_width, step.activation)
    shape = Convolution(
        height=height,
        width=width,
        channels=channels,
        kernels=len(step.weights),
        padding=step.padding,
        shift=step.shift,
        low=low,
        high=high,
        paired=True,
    )
    return Layer(shape, inputs, step.weights.numpy(), step.bias.numpy())


def _train(model: Model, data: Dataset, stage: str, epochs: int, learning_rate: float) -> None:
    pictures = Pictures.of(
        data.train_x, data.train_y, height=data.height, width=data.width, shift=0
    )
    trainer = Trainer(
        Free(model),
        pictures,
        batch=32,
        learning_rate=learning_rate,
        weight_decay=0.05,
        epochs=epochs,
    )
    trainer.task.settle()
    for epoch in range(epochs):
        trainer.epoch(epoch, generator(1, stage, epoch))
    trainer.finish()


def _integers(model: Model, data: Dataset, tile: int, weight_width: int) -> FixedNetwork:
    assert isinstance(model.module, nn.Sequential)
    return quantised(
        model.module,
        model.inputs(data.train_x[:250]),
        tile=tile,
        activation_width=8,
        weight_width=weight_width,
    )


def _accuracies(model: Model, data: Dataset, integers: FixedNetwork) -> dict[str, Any]:
    answers = integers.run(model.inputs(data.test_x))[-1]
    right = answers.numpy().argmax(axis=1) == data.test_y.numpy()
    return {
        "accuracy": accuracy(model, data.test_x, data.test_y),
        "integers": float(right.mean()),
    }
