import pytest
import torch
from torch import nn

from golden.nets.lenet import DIGITS, LENET_300_100, perceptron


def test_lenet_300_100():
    network = perceptron(LENET_300_100)
    assert sum(tensor.numel() for tensor in network.parameters()) == 266_610
    assert [type(module) for module in network] == [nn.Linear, nn.ReLU] * 2 + [nn.Linear]
    assert network(torch.zeros(3, 784)).shape == (3, 10)


def test_digits():
    assert perceptron(DIGITS)(torch.zeros(3, 64)).shape == (3, 10)


def test_seeded():
    def first_weights():
        torch.manual_seed(5)
        return perceptron((4, 3))[0].weight

    assert torch.equal(first_weights(), first_weights())


def test_wrong():
    with pytest.raises(ValueError, match=r"^widths must be at least an input and an output, not "):
        perceptron([4])
    with pytest.raises(TypeError, match=r"^widths must be positive integers, not 0$"):
        perceptron([4, 0])
    with pytest.raises(TypeError, match=r"^widths must be positive integers, not 2.0$"):
        perceptron([4, 2.0])
