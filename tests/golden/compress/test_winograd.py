"""Pruning in the Winograd domain: masks, training, and integers that are the golden model's."""

import itertools
import re

import pytest
import torch
from torch import nn

from golden.compress.model import Free, Model, accuracy
from golden.compress.train import Pictures, Trainer, generator
from golden.compress.winograd import (
    FixedLayer,
    Transformed,
    keep_pairs,
    pair_masks,
    quantised,
    transformed,
)
from golden.fixed import limits, requantise
from golden.nets.chain import chain
from golden.nets.data import load_dataset
from golden.winograd import phases
from golden.winograd import transform as matrices

tiles = pytest.mark.parametrize("tile", [2, 4])


@tiles
@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("sides", [(3, 3), (8, 8), (5, 10), (11, 6)])
@pytest.mark.parametrize("bias", [True, False])
def test_transformed_computes_the_same(tile, padding, sides, bias):
    torch.manual_seed(1)
    convolution = nn.Conv2d(4, 3, 3, padding=padding, bias=bias)
    layer = Transformed(convolution, tile).double()
    convolution.double()
    inputs = torch.randn(2, 4, *sides, dtype=torch.float64)
    # Weights are made in float32.
    assert torch.allclose(layer(inputs), convolution(inputs), atol=1e-5)


@tiles
def test_gradients_are_those_of_what_is_computed(tile):
    torch.manual_seed(1)
    layer = Transformed(nn.Conv2d(2, 2, 3, padding=1), tile).double()
    inputs = torch.randn(1, 2, 5, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, inputs)


@tiles
def test_scales(tile):
    """What is trained is as large at each place as the weights of a kernel are."""
    torch.manual_seed(1)
    layer = Transformed(nn.Conv2d(64, 64, 3), tile)
    sizes = layer.weight.detach().square().mean((0, 1)).sqrt()
    assert float(sizes.max() / sizes.min()) < 1.2
    f = matrices(tile)
    g = torch.tensor(f.weights, dtype=torch.float32)
    kernel = torch.randn(3, 3)
    norms = g.norm(dim=1)
    found = g @ kernel @ g.T / (norms[:, None] * norms) * layer.scales
    assert torch.allclose(found, g @ kernel @ g.T / f.scale**2, atol=1e-6)


OTHERS = pytest.mark.parametrize(
    "convolution",
    [
        nn.Conv2d(2, 2, 4),
        nn.Conv2d(2, 2, 5),
        nn.Conv2d(2, 2, 3, stride=2),
        nn.Conv2d(2, 2, 3, padding=2),
        nn.Conv2d(2, 2, 3, dilation=2),
        nn.Conv2d(2, 2, 3, groups=2),
        nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular"),
        nn.Conv2d(2, 2, 3, padding="same"),
    ],
)


@OTHERS
def test_others_are_refused(convolution):
    message = (
        "convolution must be 3x3 with stride 1, a padding of 0 or 1 and one group, "
        f"not {convolution!r}"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Transformed(convolution, 2)
    network = nn.Sequential(convolution)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        quantised(network, torch.rand(1, 2, 8, 8), tile=2, activation_width=8, weight_width=8)


def test_keep_pairs():
    """One by one; with so few different weights, there are ties everywhere."""
    weights = torch.randint(-2, 3, (3, 6, 4, 4), generator=torch.Generator().manual_seed(1)).float()
    mask = keep_pairs(weights)
    for k, c, i, j in itertools.product(range(3), range(0, 6, 2), range(4), range(4)):
        second = abs(weights[k, c + 1, i, j]) > abs(weights[k, c, i, j])
        assert mask[k, c : c + 2, i, j].tolist() == [not second, bool(second)]


def test_keep_pairs_of_odd_channels():
    with pytest.raises(ValueError, match="^channels must be even, not 3$"):
        keep_pairs(torch.zeros(1, 3, 4, 4))


LAYERS = ("8x8", "conv 3x3 8 same", "max 2x2", "conv 3x3 16 same", "max 2x2", 10)


@tiles
def test_network(tile):
    """A first layer of one channel stays as it is, and so does the network that is given."""
    torch.manual_seed(1)
    network = chain(LAYERS)
    copy = transformed(network, tile)
    assert type(network.conv2) is type(copy.conv1) is nn.Conv2d
    assert isinstance(copy.conv2, Transformed)
    inputs = torch.rand(3, 1, 8, 8)
    assert torch.allclose(copy(inputs), network(inputs), atol=1e-5)
    masks = pair_masks(Model(copy, (1, 8, 8)))
    assert [float(mask.float().mean()) for mask in masks] == [1, 0.5, 1]


def direct(layer, inputs):
    """A layer by PyTorch: a convolution for each result of a tile, with a tile as its stride."""
    tile = layer.tile
    image = torch.nn.functional.pad(inputs, (1, 1 + tile, 1, 1 + tile)).double()
    kernels = phases(layer.weights, tile).flatten(0, 2).double()
    found = torch.nn.functional.conv2d(image, kernels, stride=tile)
    sums = torch.nn.functional.pixel_shuffle(found, tile)[..., : inputs.shape[2], : inputs.shape[3]]
    sums = sums.to(torch.int64) + layer.bias[:, None, None]
    return requantise(sums, layer.shift, *limits(layer.activation_width, layer.activation))


@tiles
def test_training(tile):
    """The digits: with half of the weights, as good as with all, in floats and in integers."""
    data = load_dataset("digits")
    torch.manual_seed(1)
    dense = Model(chain(LAYERS), (1, 8, 8))
    pictures = Pictures.of(data.train_x, data.train_y, height=8, width=8, shift=0)

    def train(model, name, epochs, learning_rate):
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
            trainer.epoch(epoch, generator(1, name, epoch))
        trainer.finish()
        return accuracy(model, data.test_x, data.test_y)

    whole = train(dense, "train", 12, 0.01)
    model = Model(transformed(dense.module, tile), (1, 8, 8))
    model.masks = pair_masks(model)
    pruned = train(model, "retrain", 4, 0.001)
    assert whole >= 0.965
    assert pruned >= whole - 0.0125

    network = quantised(
        model.module,
        model.inputs(data.train_x[:250]),
        tile=tile,
        activation_width=8,
        weight_width={2: 8, 4: 12}[tile],
    )
    activations = network.run(model.inputs(data.test_x))
    right = (activations[-1].argmax(dim=1) == data.test_y).double().mean()
    assert abs(float(right) - pruned) <= 0.01

    convolutions = [step for step in network.steps if isinstance(step, FixedLayer)][:2]
    assert [tuple(one.weights.shape[2:]) for one in convolutions] == [(3, 3), (tile + 2,) * 2]
    paired = convolutions[1]
    assert not (paired.weights[:, 0::2] * paired.weights[:, 1::2]).any()
    place = network.steps.index(paired)
    assert torch.equal(activations[place + 1], direct(paired, activations[place]))


def test_radix_points():
    """Of numbers that have one which represents them exactly, integers are those numbers."""
    torch.manual_seed(1)
    network = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 4, 3))
    network = transformed(network, 2)
    layer = network[0]
    with torch.no_grad():
        layer.scales.fill_(2.0**-3)
        layer.weight.copy_(torch.randint(-100, 100, layer.weight.shape) / 4)
        layer.bias.copy_(torch.randint(-100, 100, (4,)) / 4)
        network[3].weight.copy_(torch.randint(-100, 100, (3, 16)) / 128)
        network[3].bias.zero_()
    inputs = torch.randint(0, 100, (5, 2, 4, 4)) / 64
    integers = quantised(network, inputs, tile=2, activation_width=16, weight_width=8)
    given, made, _, answers = integers.run(inputs)
    assert torch.equal(given / 2.0**integers.input_radix, inputs.double())
    exact = network[:2](inputs).detach()
    radix = round(float((made.max() / exact.max()).log2()))
    assert torch.equal(made, (exact * 2.0**radix).round().to(torch.int64))
    assert torch.equal(answers.argmax(dim=1), network(inputs).argmax(dim=1))


@pytest.mark.parametrize(
    "modules",
    [(nn.Tanh(),), (nn.ReLU(),), (nn.Linear(4, 3), nn.Flatten(), nn.ReLU())],
    ids=["tanh", "first", "behind another"],
)
def test_other_modules_are_refused(modules):
    message = (
        "network must be of convolutions, linear layers, ReLU behind one of these, "
        f"MaxPool2d and Flatten, not {modules[-1]!r}"
    )
    with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
        quantised(
            nn.Sequential(*modules), torch.rand(1, 4), tile=2, activation_width=8, weight_width=8
        )
