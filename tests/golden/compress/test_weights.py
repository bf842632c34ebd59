import os
import re

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from golden.compress import weights as module
from golden.compress.weights import check_network, load_weights
from golden.errors import DataError
from golden.nets.chain import chain


def problems(path, entries):
    with pytest.raises(DataError) as caught:
        load_weights(path, entries)
    first, *lines = str(caught.value).split("\n  ")
    assert first == f"{path} has no weights for the recipe's {list(entries)}:"
    return lines


@pytest.mark.parametrize(
    ("entries", "shape"),
    [((7, 5, 3), (7,)), (("6x5", "conv 3x3 4", "max 2x2", "conv 1x1 2", 5, 3), (1, 6, 5))],
)
def test_state_dict_of_a_sequential(entries, shape, tmp_path):
    path = tmp_path / "net.safetensors"
    network = chain(entries)
    # Names that PyTorch gives of its own.
    save_file(nn.Sequential(*network).state_dict(), path)
    x = torch.randn(4, *shape)
    assert torch.equal(load_weights(path, entries)(x), network(x))


def test_layers_in_natural_order(tmp_path):
    """Twelve layers whose alphabetical order is another one."""
    path = tmp_path / "net.safetensors"
    widths = tuple(range(3, 16))
    network = chain(widths)
    tensors = {}
    for index in range(12):
        tensors[f"body.fc{index + 1}.weight"] = network[2 * index].weight.detach()
        tensors[f"body.fc{index + 1}.bias"] = network[2 * index].bias.detach()
    save_file(tensors, path)
    x = torch.randn(4, 3)
    assert torch.equal(load_weights(path, widths)(x), network(x))


def test_half_precision(tmp_path):
    path = tmp_path / "net.safetensors"
    network = chain((3, 2)).half()
    save_file(network.state_dict(), path)
    loaded = load_weights(path, (3, 2))
    assert loaded[0].weight.dtype == torch.float32
    assert torch.equal(loaded[0].weight, network[0].weight.float())


def test_everything_wrong_is_listed(tmp_path):
    path = tmp_path / "net.safetensors"
    save_file(
        {
            "fc1.weight": torch.zeros(5, 7),
            "fc1.bias": torch.zeros(5, dtype=torch.int32),
            "fc1.mask": torch.ones(5, 7),
            "fc2.weight": torch.tensor([[1.0, float("nan")]]),
            "scale": torch.ones(1),
            ".bias": torch.ones(1),
        },
        path,
    )
    assert sorted(problems(path, (7, 5, 2))) == [
        "'.bias' is unknown; a tensor must be called <layer>.weight or <layer>.bias",
        "'fc1.bias' must be of a floating-point dtype, not torch.int32",
        "'fc1.mask' is unknown; a tensor must be called <layer>.weight or <layer>.bias",
        "'fc2.bias' is missing",
        "'fc2.weight' must be finite",
        "'scale' is unknown; a tensor must be called <layer>.weight or <layer>.bias",
    ]


def test_other_shapes(tmp_path):
    path = tmp_path / "net.safetensors"
    save_file(
        {
            "fc1.weight": torch.zeros(5, 7),
            "fc1.bias": torch.zeros(4),
            "fc2.weight": torch.zeros(3, 5, 1),
            "fc2.bias": torch.zeros(3),
        },
        path,
    )
    assert problems(path, (7, 5, 3)) == [
        "'fc1.bias' must be of shape (5,), not (4,)",
        "'fc2.weight' must be of shape (3, 5), not (3, 5, 1)",
    ]
    assert problems(path, (7, 5, 4, 3)) == ["it has 2 layers, not 3"]


def test_no_layers(tmp_path):
    path = tmp_path / "net.safetensors"
    save_file({}, path)
    assert problems(path, (7, 5, 3)) == ["it has 0 layers, not 2"]


def test_no_safetensors_file(tmp_path):
    path = tmp_path / "net.safetensors"
    path.write_bytes(b"\x80\x04pickle")
    with pytest.raises(DataError, match=rf"^{re.escape(str(path))} is no safetensors file: "):
        load_weights(path, (3, 2))


def test_no_file_at_all(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_weights(tmp_path / "none", (3, 2))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="pipe: must be a file$"):
        load_weights(tmp_path / "pipe", (3, 2))


def test_too_large(tmp_path, monkeypatch):
    path = tmp_path / "net.safetensors"
    save_file(chain((3, 2)).state_dict(), path)
    monkeypatch.setattr(module, "LARGEST_FILE", 50)
    with pytest.raises(DataError, match=r"must have at most 50 bytes, not \d+$"):
        load_weights(path, (3, 2))


def test_check_network():
    check_network(chain((7, 5, 3)), (7, 5, 3))
    entries = ("6x5", "conv 3x3 4 same", "max 2x2", 3)
    check_network(chain(entries), entries)


def test_check_network_lists_everything():
    wrong = nn.Sequential(nn.Linear(6, 5, bias=False), nn.Tanh(), nn.Linear(5, 3).double())
    with torch.no_grad():
        wrong[0].weight[0, 0] = float("inf")
    with pytest.raises(DataError) as caught:
        check_network(wrong, (7, 5, 3, 2))
    linear = "Linear(in_features={}, out_features={}, bias={})".format
    assert str(caught.value).split("\n  ") == [
        "the network is not the recipe's [7, 5, 3, 2]:",
        "it must have 5 modules, not 3",
        f"module 0 must be {linear(7, 5, True)}, not {linear(6, 5, False)}",
        "weight of module 0 must be finite",
        "module 1 must be ReLU(), not Tanh()",
        "weight of module 2 must be torch.float32, not torch.float64",
        "bias of module 2 must be torch.float32, not torch.float64",
    ]


def test_check_network_wrong_padding():
    entries = ("6x5", "conv 3x3 4 same", 3)
    wrong = chain(("6x5", "conv 3x3 4", 3))
    with pytest.raises(DataError, match=r"module 0 must be Conv2d\(.*padding=\(1, 1\)\), not "):
        check_network(wrong, entries)


def test_check_network_wrong_type():
    with pytest.raises(TypeError, match=r"^network must be an nn.Sequential, not Linear$"):
        check_network(nn.Linear(2, 2), (2, 2))
