"""A trained network brought along: from a safetensors file or a torch module."""

import re
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from golden.errors import DataError
from golden.files import check_file
from golden.nets.chain import chain

__all__ = ["check_network", "load_weights"]

# Weights of 2**28 bytes are as many as an image may have.
LARGEST_FILE = 1 << 28
PARTS = ("weight", "bias")


def load_weights(path: Path, entries: Sequence[int | str]) -> nn.Sequential:
    """Read the weights of a network from a safetensors file.

    The file has two tensors per layer with weights, ``<layer>.weight`` and ``<layer>.bias``, of a
    floating-point dtype and finite. This is what ``safetensors.torch.save_file(
    network.state_dict(), path)`` writes. Names are free: layers are taken in their order, numbers
    by their value, ``fc2`` before ``fc10``.

    Parameters
    ----------
    path : Path
        The file.
    entries : sequence of int or str
        The network; see :func:`golden.nets.chain.chain`.

    Returns
    -------
    nn.Sequential
        That network, of float32.

    Raises
    ------
    DataError
        If the file has no such weights: everything wrong with it, by name.
    OSError
        If the file cannot be read.
    """
    try:
        with safe_open(check_file(path, LARGEST_FILE), framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise DataError(f"{path} is no safetensors file: {error}") from error

    network = chain(entries)
    wanted = _weighted(network)
    names = {name.rpartition(".")[0] for name in tensors if name.rpartition(".")[2] in PARTS}
    layers = sorted(names - {""}, key=_natural)
    problems = _tensor_problems(layers, tensors)
    if not problems and len(layers) != len(wanted):
        problems = [f"it has {len(layers)} layers, not {len(wanted)}"]
    if not problems:
        problems = _shape_problems(dict(zip(layers, wanted, strict=True)), tensors)
    if problems:
        about = f"{path} has no weights for the recipe's {list(entries)}:"
        raise DataError("\n  ".join([about, *problems]))
    with torch.no_grad():
        for name, layer in zip(layers, wanted, strict=True):
            for part in PARTS:
                getattr(layer, part).copy_(tensors[f"{name}.{part}"])
    return network


def _weighted(network: nn.Module) -> list[nn.Module]:
    return [one for one in network.modules() if isinstance(one, nn.Linear | nn.Conv2d)]


def _natural(name: str) -> list[tuple[bool, int, str]]:
    parts = re.split(r"(\d+)", name)
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts]


def _tensor_problems(layers: list[str], tensors: dict[str, Tensor]) -> list[str]:
    wanted = [f"{layer}.{part}" for layer in layers for part in PARTS]
    problems = [
        f"{name!r} is unknown; a tensor must be called <layer>.weight or <layer>.bias"
        for name in tensors
        if name not in wanted
    ]
    for name in wanted:
        tensor = tensors.get(name)
        if tensor is None:
            problems.append(f"{name!r} is missing")
        elif not tensor.is_floating_point():
            problems.append(f"{name!r} must be of a floating-point dtype, not {tensor.dtype}")
        elif not tensor.isfinite().all():
            problems.append(f"{name!r} must be finite")
    return problems


def _shape_problems(layers: dict[str, nn.Module], tensors: dict[str, Tensor]) -> list[str]:
    problems = []
    for name, layer in layers.items():
        for part in PARTS:
            shape, found = tuple(getattr(layer, part).shape), tensors[f"{name}.{part}"].shape
            if found != shape:
                problems.append(f"'{name}.{part}' must be of shape {shape}, not {tuple(found)}")
    return problems


def check_network(network: nn.Sequential, entries: Sequence[int | str]) -> None:
    """Refuse a network that is not of the layers of a recipe.

    Parameters
    ----------
    network : nn.Sequential
        What somebody brought along.
    entries : sequence of int or str
        What it must be; see :func:`golden.nets.chain.chain`.

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
    wanted = list(chain(entries))
    if len(network) != len(wanted):
        problems.append(f"it must have {len(wanted)} modules, not {len(network)}")
    for index, (module, want) in enumerate(zip(network, wanted, strict=False)):
        # What a module says of itself is all that makes it what it is, but for the weights.
        if repr(module) != repr(want):
            problems.append(f"module {index} must be {want!r}, not {module!r}")
        for name, tensor in module.named_parameters():
            if tensor.dtype != torch.float32:
                problems.append(
                    f"{name} of module {index} must be torch.float32, not {tensor.dtype}"
                )
            elif not tensor.isfinite().all():
                problems.append(f"{name} of module {index} must be finite")
    if problems:
        raise DataError(
            "\n  ".join([f"the network is not the recipe's {list(entries)}:", *problems])
        )
