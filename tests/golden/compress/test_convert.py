"""Modules become images that compute what they do: exactly, where numbers allow it."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from golden.compress.convert import convert
from golden.errors import FitError, UnsupportedError
from golden.fixed import quantise
from golden.image import from_bytes, to_bytes
from golden.layers import MaxPooling
from golden.network import answers, run
from tests.golden.strategies import content


@pytest.fixture(autouse=True)
def same_numbers():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def coarse(module):
    """``module`` with few different weights, all of them multiples of 1/4."""
    with torch.no_grad():
        for values in module.parameters():
            values.copy_(torch.randint(-3, 4, values.shape) / 4)
    return module.eval()


def inputs_of(network, x):
    """Inputs of PyTorch as the image takes them: channels last, flat, fixed point."""
    last = x.movedim(1, 3) if x.dim() == 4 else x
    return quantise(last.flatten(1), network.input_radix, network.activation_width)


def outputs_of(network, x):
    """What the image makes of inputs of PyTorch, as real numbers and in PyTorch's order."""
    found = answers(network, inputs_of(network, x)) / 2.0 ** network.radixes[-1]
    shape = network.shapes[-1]
    return found.unflatten(1, shape).movedim(3, 1) if len(shape) == 3 else found


def check_exact(module, shape, **options):
    module = coarse(module)
    x = torch.randint(-4, 5, (6, *shape)) / 4
    network = convert(module, x, name="net", bits=8, **options)
    with torch.no_grad():
        expected = module(x).double()
    assert torch.equal(outputs_of(network, x).reshape(expected.shape), expected)
    return network


class LeNet(nn.Module):
    """Written with functions, as many are."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 3, 3)
        self.second = nn.Conv2d(3, 4, 2, stride=(2, 1))
        self.last = nn.Linear(4 * 1 * 2, 5)

    def forward(self, x):
        x = functional.max_pool2d(functional.relu(self.first(x)), 2)
        x = self.second(x).relu_()
        return self.last(x.view(-1, 8))


class Fire(nn.Module):
    """A module of SqueezeNet and the end of that network."""

    def __init__(self):
        super().__init__()
        self.squeeze = nn.Conv2d(3, 2, 1)
        self.one = nn.Conv2d(2, 4, 1)
        self.three = nn.Conv2d(2, 4, 3, padding=1)
        self.end = nn.Conv2d(8, 5, 1, padding=1)
        self.pool = nn.MaxPool2d(3, 2, ceil_mode=True)

    def forward(self, x):
        x = torch.relu(self.squeeze(x))
        x = torch.cat([torch.relu(self.one(x)), torch.relu(self.three(x))], 1)
        x = torch.relu(self.end(functional.dropout(self.pool(x), training=self.training)))
        return functional.adaptive_avg_pool2d(x, 1).flatten(1)


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, padding="same", groups=2)
        self.second = nn.Conv2d(4, 4, (2, 4), padding="same", bias=False)

    def forward(self, x):
        x = torch.relu(self.first(x))
        y = self.second(x)
        y += x
        # The sum goes on with and without the rectifier.
        return torch.cat((functional.avg_pool2d(torch.relu(y), 2), functional.avg_pool2d(y, 2)), -3)


def test_flattening_is_reordered():
    network = check_exact(LeNet(), (1, 7, 9))
    assert [layer.name for layer in network.layers] == ["first", "max_pool2d", "second", "last"]
    assert [layer.activation for layer in network.layers] == ["relu", "none", "relu", "none"]
    assert network.shapes == ((7, 9, 1), (5, 7, 3), (2, 3, 3), (1, 2, 4), (5,))


def test_concatenation_has_one_radix_point():
    network = check_exact(Fire(), (3, 4, 4), accumulator_width=48)
    kinds = [layer.kind for layer in network.layers]
    assert kinds == [*["convolution"] * 3, "concatenate", "max", "convolution", "average"]
    assert network.sources == ((0,), (1,), (1,), (2, 3), (4,), (5,), (6,))
    assert len({network.radixes[k] for k in (2, 3, 4, 5)}) == 1
    assert content(from_bytes(to_bytes(network))) == content(network)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
def test_sum_with_and_without_rectifier():
    network = check_exact(Residual(), (2, 4, 6))
    kinds = [layer.kind for layer in network.layers]
    assert kinds == [
        "convolution",
        "convolution",
        "add",
        "max",
        "average",
        "average",
        "concatenate",
    ]
    assert network.layers[1].padding == (0, 1, 1, 2)
    assert isinstance(network.layers[3], MaxPooling)
    assert network.layers[3].activation == "relu"


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Dropout(), nn.Linear(5, 4)), (6,)),
        (nn.Sequential(nn.Flatten(), nn.Linear(24, 5), nn.ReLU()), (2, 3, 4)),
        (nn.Sequential(nn.Conv2d(2, 3, (1, 2), stride=(2, 1), padding=(1, 0))), (2, 3, 4)),
        (nn.Sequential(nn.Conv2d(2, 2, 1), nn.Flatten(), nn.ReLU(), nn.Linear(24, 3)), (2, 3, 4)),
        (nn.Sequential(nn.AvgPool2d(2, 1, 1), nn.ReLU()), (2, 3, 4)),
        (nn.Sequential(nn.ReLU(), nn.MaxPool2d((3, 2), 2, (1, 1))), (2, 3, 4)),
        (nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(3, 4)), (2, 3, 3)),
    ],
)
def test_usual_modules(module, shape):
    check_exact(module, shape)


@pytest.mark.parametrize("count", [0, 1, 14, 15, 16])
def test_weights_that_are_shared_already_stay(count):
    """With codes of 4 bits, 15 values unevenly spaced; 16 are clustered."""
    layer = nn.Linear(400, 3)
    values = 2.0 ** -torch.arange(count) if count else torch.zeros(1)
    with torch.no_grad():
        layer.weight.copy_(values[torch.randint(len(values), (3, 400))])
        layer.weight[:, ::3] = 0
    network = convert(nn.Sequential(layer), torch.randn(50, 400), name="net", bits=4)
    found = torch.from_numpy(network.layers[0].dense() / 2.0 ** network.layers[0].weight_radix)
    assert torch.equal(found == 0, layer.weight == 0)
    assert torch.equal(found.float(), layer.weight) == (count < 16)


@pytest.mark.parametrize("affine", [False, True])
def test_normalisation_is_folded(affine):
    module = nn.Sequential(
        nn.Conv2d(2, 8, 3, bias=affine),
        nn.BatchNorm2d(8, affine=affine),
        nn.ReLU(),
        nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False),
        nn.Flatten(),
        nn.Linear(8 * 4 * 4, 6, bias=False),
        nn.BatchNorm1d(6, affine=affine),
    )
    x = torch.randn(64, 2, 8, 8)
    for _ in range(20):
        module(x * 3 + 1)
    network = convert(module, x, name="net", bits=8, accumulator_width=48)
    assert module.training
    assert [layer.kind for layer in network.layers] == ["convolution", "average", "fully_connected"]
    with torch.no_grad():
        expected = module.eval()(x)
    # A few of the 255 values that 576 weights share are off by up to their distance.
    wrong = (outputs_of(network, x) - expected).abs().max()
    assert wrong < 0.02 * expected.abs().max()


def test_a_trained_network_keeps_its_accuracy():
    pytest.importorskip("sklearn")
    from golden.nets.data import load_dataset

    data = load_dataset("digits")
    module = nn.Sequential(
        *(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 10)),
    )
    x, test_x = (part.unflatten(1, (1, 8, 8)) for part in (data.train_x, data.test_x))
    optimiser = torch.optim.Adam(module.parameters(), 0.01)
    for _ in range(15):
        for part in torch.randperm(len(x)).split(64):
            optimiser.zero_grad()
            functional.cross_entropy(module(x[part]), data.train_y[part]).backward()
            optimiser.step()
    network = convert(module, x[:256], name="digits", bits=5, activation_width=8)
    with torch.no_grad():
        before = (module(test_x).argmax(1) == data.test_y).double().mean()
    after = np.argmax(outputs_of(network, test_x).numpy(), axis=1) == data.test_y.numpy()
    assert before > 0.95
    assert after.mean() > before - 0.01


def test_no_accumulator_overflows():
    x = torch.randn(20, 3, 6, 6)
    network = convert(Fire().eval(), x, name="net", bits=4, accumulator_width=32)
    assert max(network.accumulator_bits) <= 32
    results = run(network, inputs_of(network, x))
    assert all(int(sums.abs().max()) < 2**31 for sums, _ in results)


def test_accumulator_is_too_narrow():
    module = nn.Sequential(nn.AvgPool2d(3))
    with pytest.raises(FitError, match=r"^layer 'avg_pool2d' fits no accumulator of 16 bits"):
        convert(module, torch.ones(1, 1, 3, 3), name="net", bits=4, accumulator_width=16)


class Written(nn.Module):
    """A module of one function."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.layer = nn.Conv2d(2, 2, 1)
        self.wide = nn.Conv2d(2, 2, 2, dilation=2)
        self.norm = nn.BatchNorm2d(2)

    def forward(self, x):
        return self.function(self, x)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda m, x: torch.sigmoid(m.layer(x)), r"sigmoid: no layer can do aten\.sigmoid"),
        (lambda m, x: m.layer(x) + 1, r"add: must take what a layer has put out"),
        (lambda m, x: m.layer(x) + m.layer(x)[:, :1], r"slice_1: no layer can do"),
        (lambda m, x: torch.cat([m.layer(x), x], 2), r"cat: must join channels, not dimension 2"),
        (lambda m, x: (m.layer(x), x), r"the module must have one output"),
        (lambda m, x: x, r"the module must end with a layer"),
        (lambda m, x: m.layer(x).flatten(1), r"the module must not end with the flattening of"),
        (lambda m, x: m.layer(x).flatten(2), r"flatten: must flatten all but the batch"),
        (
            lambda m, x: functional.max_pool2d(m.layer(x), 2, dilation=2),
            r"max_pool2d: must have a dilation of 1, not \[2, 2\]",
        ),
        (
            lambda m, x: functional.avg_pool2d(m.layer(x), 2, divisor_override=3),
            r"avg_pool2d: must not have a divisor of its own",
        ),
        (
            lambda m, x: functional.adaptive_avg_pool2d(m.layer(x), 3),
            r"adaptive_avg_pool2d: must divide \(4, 4\) evenly, not by \[3, 3\]",
        ),
        (
            lambda m, x: m.norm(torch.relu(m.layer(x))),
            r"batch_norm: batch normalisation must come right behind a layer with weights",
        ),
        (
            lambda m, x: m.wide(m.layer(x)),
            r"conv2d_1: must have a dilation of 1, not \[2, 2\]",
        ),
        (
            lambda m, x: (lambda y: torch.cat([functional.max_pool2d(y, 1), y.relu_()], 1))(
                m.layer(x)
            ),
            r"relu_: must not change what others take",
        ),
        (
            lambda m, x: functional.max_pool2d(m.layer(x).flatten(1).view(3, 2, 4, 4), 2),
            r"view: must flatten all but the batch",
        ),
    ],
)
def test_what_no_layer_can_do(function, message):
    with pytest.raises(UnsupportedError, match=rf"^{message}"):
        convert(Written(function), torch.ones(3, 2, 4, 4), name="net", bits=4)


@pytest.mark.parametrize("shape", [(3, 2, 4), (3, 2, 4, 4, 4)])
def test_wrong_inputs(shape):
    with pytest.raises(UnsupportedError, match=r"^tensors must be vectors or feature maps, not of"):
        convert(nn.Sequential(nn.ReLU()), torch.ones(shape), name="net", bits=4)
