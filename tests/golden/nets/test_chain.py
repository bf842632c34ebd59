import pytest
import torch

from golden.compress.recipe import load_recipe
from golden.nets.chain import chain
from golden.nets.steps import input_shape, is_entry, steps
from golden.recipes import bundled_recipes


def test_lenet_300_100():
    network = chain((784, 300, 100, 10))
    assert list(dict(network.named_children())) == ["fc1", "relu1", "fc2", "relu2", "fc3"]
    assert sum(tensor.numel() for tensor in network.parameters()) == 266_610
    assert network(torch.zeros(3, 784)).shape == (3, 10)


def test_lenet_5():
    network = chain(load_recipe("lenet_5").network.layers)
    assert list(dict(network.named_children())) == [
        *("conv1", "relu1", "max1", "conv2", "relu2", "max2"),
        *("flatten", "fc1", "relu3", "fc2"),
    ]
    # As many as Caffe's has.
    assert sum(tensor.numel() for tensor in network.parameters()) == 431_080
    assert network(torch.zeros(3, 1, 28, 28)).shape == (3, 10)


EVERYTHING = ("9x14", "conv 3x5 4 same", "average 2x3", "conv 2x1 6", "max 3x2", 7, 5)


@pytest.mark.parametrize(
    "entries",
    [EVERYTHING, ("8x8", 10), *(load_recipe(name).network.layers for name in bundled_recipes())],
)
def test_shapes_are_pytorch_s(entries):
    """Shapes that are worked out beforehand, against what each module makes."""
    network, found = chain(entries), steps(entries)
    *sides, last = input_shape(entries)
    x = torch.zeros(2, last, *sides)
    for step in found:
        assert list(x.shape[1:]) == [step.taken[-1], *step.taken[:-1]]
        if step.name == next((one.name for one in found if one.kind == "fc"), None):
            x = x.flatten(1)
        x = getattr(network, step.name)(x)
        assert list(x.shape[1:]) == [step.made[-1], *step.made[:-1]]


def test_a_convolution_that_stays_as_large():
    network = chain(EVERYTHING)
    assert (network.conv1.padding, network.conv2.padding) == ((1, 2), (0, 0))
    assert network.average1.stride == (2, 3)


def test_seeded():
    def first_weights():
        torch.manual_seed(5)
        return chain((4, 3))[0].weight

    assert torch.equal(first_weights(), first_weights())


@pytest.mark.parametrize(
    ("entry", "first", "rest"),
    [
        (1, True, True),
        (1 << 20, True, True),
        (0, False, False),
        ((1 << 20) + 1, False, False),
        (True, False, False),
        (2.0, False, False),
        ("28x28", True, False),
        ("0x28", False, False),
        ("28x28x1", False, False),
        ("conv 5x5 20", False, True),
        ("conv 3x3 20 same", False, True),
        ("conv 3x3", False, False),
        ("conv 3x3 same", False, False),
        ("conv 3x3 0", False, False),
        ("conv  3x3 20", False, False),
        ("max 2x2", False, True),
        ("average 10x2", False, True),
        ("max 2x2 4", False, False),
        ("max 2", False, False),
        ("max 2x2\n", False, False),
        ("median 2x2", False, False),
        (None, False, False),
    ],
)
def test_entries(entry, first, rest):
    assert (is_entry(entry, first=True), is_entry(entry, first=False)) == (first, rest)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (("6x4", "conv 5x5 2", 3), r"'conv 5x5 2' must fit a map of 6x4"),
        (("6x6", "conv 3x3 2", "max 5x5", 3), r"'max 5x5' must fit a map of 4x4"),
        (("6x6", "conv 2x3 2 same", 3), r"'conv 2x3 2 same' must have a kernel with odd sides to"),
        (("6x6", 5, "max 2x2", 3), r"'max 2x2' must come before all fully connected layers"),
        ((36, "max 2x2", 3), r"'max 2x2' must come before all fully connected layers"),
    ],
)
def test_what_does_not_fit(entries, message):
    with pytest.raises(ValueError, match=rf"^{message}"):
        steps(entries)
