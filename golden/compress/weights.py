"""A trained network brought along: from a safetensors file or a torch module."""

import re
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from golden.errors import DataError
from golden.files import check_file
from golden.nets.lenet import perceptron

__all__ = ["check_network", "load_weights"]

# Weights of 2**28 bytes are as many as an image may have.
LARGEST_FILE = 1 << 28
# Dimensions of each tensor of a layer.
PARTS = {"weight": 2, "bias": 1}


def load_weights(path: Path) -> nn.Sequential:
    """Read a network of fully connected layers from a safetensors file.

    The file has two tensors per layer, ``<layer>.weight`` of shape ``(outputs, inputs)`` and
    ``<layer>.bias`` of shape ``(outputs,)``, of a floating-point dtype and finite. This is what
    ``safetensors.torch.save_file(network.state_dict(), path)`` writes. Layers are computed in the
    order of their names, numbers by their value: ``fc2`` before ``fc10``. A ReLU comes between
    each two.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    nn.Sequential
        ``Linear, ReLU, ..., Linear``, of float32.

    Raises
    ------
    DataError
        If the file is not such a network: everything wrong with it, by name.
    OSError
        If the file cannot be read.
    """
    try:
        with safe_open(check_file(path, LARGEST_FILE), framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise DataError(f"{path} is no safetensors file: {error}") from error

    names = {name.rpartition(".")[0] for name in tensors if name.rpartition(".")[2] in PARTS}
    layers = sorted(names - {""}, key=_natural)
    problems = _tensor_problems(layers, tensors) or _chain_problems(layers, tensors)
    if problems:
        raise DataError("\n  ".join([f"{path} is no network of linear layers:", *problems]))

    shapes = [tensors[f"{layer}.weight"].shape for layer in layers]
    network = perceptron([shapes[0][1], *(shape[0] for shape in shapes)])
    linears = (module for module in network if isinstance(module, nn.Linear))
    with torch.no_grad():
        for layer, linear in zip(layers, linears, strict=True):
            linear.weight.copy_(tensors[f"{layer}.weight"])
            linear.bias.copy_(tensors[f"{layer}.bias"])
    return network


def _natural(name: str) -> list[tuple[bool, int, str]]:
    parts = re.split(r"(\d+)", name)
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts]


def _tensor_problems(layers: list[str], tensors: dict[str, Tensor]) -> list[str]:
    problems = [] if layers else ["it has no layers"]
    wanted = {f"{layer}.{part}": dims for layer in layers for part, dims in PARTS.items()}
    problems += [
        f"{name!r} is unknown; a tensor must be called <layer>.weight or <layer>.bias"
        for name in tensors
        if name not in wanted
    ]
    for name, dims in wanted.items():
        tensor = tensors.get(name)
        if tensor is None:
            problems.append(f"{name!r} is missing")
        elif not tensor.is_floating_point():
            problems.append(f"{name!r} must be of a floating-point dtype, not {tensor.dtype}")
        elif tensor.dim() != dims or 0 in tensor.shape:
            problems.append(f"{name!r} must have {dims} dimensions, not {tuple(tensor.shape)}")
        elif not tensor.isfinite().all():
            problems.append(f"{name!r} must be finite")
    return problems


def _chain_problems(layers: list[str], tensors: dict[str, Tensor]) -> list[str]:
    problems = []
    inputs = None
    for layer in layers:
        shape = tuple(tensors[f"{layer}.weight"].shape)
        bias = tuple(tensors[f"{layer}.bias"].shape)
        if bias != shape[:1]:
            problems.append(f"'{layer}.bias' must be of shape {shape[:1]}, not {bias}")
        if inputs is not None and shape[1] != inputs:
            problems.append(
                f"'{layer}.weight' must have {inputs} inputs, as many as the layer before puts "
                f"out, not {shape[1]}"
            )
        inputs = shape[0]
    return problems


def check_network(network: nn.Sequential, widths: Sequence[int]) -> None:
    """Refuse a network that is not made of linear layers of given widths, with ReLUs between.

    Parameters
    ----------
    network : nn.Sequential
        What somebody brought along.
    widths : sequence of int
        Number of inputs, then of outputs of each layer.

    Raises
    ------
    TypeError
        If ``network`` is no nn.Sequential.
    DataError
        If it is another network: everything wrong with it, by the number of the module.
    """
    if not isinstance(network, nn.Sequential):
        raise TypeError(f"network must be an nn.Sequential, not {type(network).__name__}")
    problems = []
    wanted = list(perceptron(widths))
    if len(network) != len(wanted):
        problems.append(f"it must have {len(wanted)} modules, not {len(network)}")
    for index, (module, want) in enumerate(zip(network, wanted, strict=False)):
        if type(module) is not type(want):
            problems.append(
                f"module {index} must be {type(want).__name__}, not {type(module).__name__}"
            )
        elif isinstance(module, nn.Linear):
            problems += _linear_problems(index, module, want)
    if problems:
        raise DataError(
            "\n  ".join([f"the network is not the recipe's {list(widths)}:", *problems])
        )


def _linear_problems(index: int, module: nn.Linear, want: nn.Module) -> list[str]:
    assert isinstance(want, nn.Linear)
    problems = []
    if module.weight.shape != want.weight.shape:
        problems.append(
            f"module {index} must have weights of shape {tuple(want.weight.shape)}, "
            f"not {tuple(module.weight.shape)}"
        )
    if module.bias is None:
        problems.append(f"module {index} must have a bias")
    for name, tensor in module.named_parameters():
        if tensor.dtype != torch.float32:
            problems.append(f"{name} of module {index} must be torch.float32, not {tensor.dtype}")
        elif not tensor.isfinite().all():
            problems.append(f"{name} of module {index} must be finite")
    return problems
