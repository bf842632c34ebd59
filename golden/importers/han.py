"""The SqueezeNet that the authors of Deep Compression have published, a file ``.net``.

S. Han, H. Mao and W. J. Dally, "Deep compression", ICLR 2016; the file is
``compressed_SqueezeNet.net`` of the repository ``songhan/SqueezeNet-Deep-Compression``. All of it
is little-endian. First, as uint32, how many entries each of the 26 layers with weights has. Then,
layer by layer: a codebook of 256 float32, that of code 0 being 0; a bias for each output, float32;
a code for each entry, uint8; and for each entry the number of zeros before it, 4 bits, the first of
two in the lower half of a byte. Positions are in the flattened tensor of weights ``(outputs,
inputs, rows, columns)``; an entry with code 0 is there because more zeros come than 4 bits can say.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from golden.compress.convert import convert
from golden.errors import DataError
from golden.files import check_file
from golden.layers import Network
from golden.nets.squeezenet import SqueezeNet

__all__ = ["Published", "convert_published", "read"]

# The published one has 675,763 bytes; one with all weights stored has 2 MB.
LARGEST_FILE = 1 << 22
_CODES = 256


@dataclass(frozen=True, eq=False)
class Published:
    """What a file has.

    Attributes
    ----------
    module : SqueezeNet
        The network, its weights looked up.
    bits : dict of str to int
        For each layer with weights, by name, how many bits its codes need, 2 to 8.
    entries : int
        Stored entries of all layers, those with code 0 as well.
    size : int
        Bytes of the file.
    """

    module: SqueezeNet
    bits: dict[str, int]
    entries: int
    size: int


def read(path: Path) -> Published:
    """Read a file.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    DataError
        If it is no such file. The message names the file, the layer and the part.
    OSError
        If it cannot be read.
    """
    file = _File(path, check_file(path, LARGEST_FILE).read_bytes())
    module = SqueezeNet()
    layers = {name: one for name, one in module.named_modules() if isinstance(one, nn.Conv2d)}
    counts = file.numbers("the counts of entries", "<u4", len(layers))
    bits = {}
    with torch.no_grad():
        for (name, layer), count in zip(layers.items(), counts.tolist(), strict=True):
            codebook, bias, codes = _layer(file, name, layer, count)
            layer.bias.copy_(bias)  # type: ignore[union-attr]
            layer.weight.copy_(codebook[codes].view_as(layer.weight))
            bits[name] = max(2, int(codes.max()).bit_length())
    file.end()
    return Published(module.eval(), bits, int(counts.sum()), len(file.data))


def _layer(file: "_File", name: str, layer: nn.Conv2d, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Codebook float32 ``(256,)``, bias float32, and codes int64 of the flattened weights."""
    size = layer.weight.numel()
    if count > size:
        raise file.wrong(f"{name}: entries must be at most the {size} weights, not {count}")
    codebook = file.reals(f"{name}: codebook", _CODES)
    if codebook[0] != 0:
        raise file.wrong(f"{name}: codebook must start with 0, not {codebook[0]}")
    bias = file.reals(f"{name}: bias", layer.out_channels)
    stored = file.numbers(f"{name}: codes", "u1", count)
    halves = file.numbers(f"{name}: positions", "u1", (count + 1) // 2)
    zeros = np.stack([halves & 15, halves >> 4], axis=1).ravel()
    if zeros[count:].any():
        raise file.wrong(f"{name}: positions must be filled up with 0 to a whole byte")
    places = np.cumsum(zeros[:count].astype(np.int64) + 1) - 1
    if count and places[-1] >= size:
        raise file.wrong(f"{name}: positions must lie within {size} weights, not {places[-1]}")
    codes = np.zeros(size, np.int64)
    codes[places] = stored
    return torch.from_numpy(codebook), torch.from_numpy(bias), torch.from_numpy(codes)


class _File:
    """Takes the parts of a file one after the other."""

    def __init__(self, path: Path, data: bytes) -> None:
        self.path = path
        self.data = data
        self.at = 0

    def wrong(self, message: str) -> DataError:
        return DataError(f"{self.path}: {message}")

    def numbers(self, part: str, dtype: str, count: int) -> np.ndarray:
        size = count * np.dtype(dtype).itemsize
        left = len(self.data) - self.at
        if size > left:
            raise self.wrong(f"{part} must have {size} bytes, but the file ends after {left}")
        self.at += size
        return np.frombuffer(self.data, dtype, count, self.at - size)

    def reals(self, part: str, count: int) -> np.ndarray:
        found = self.numbers(part, "<f4", count).astype(np.float32)
        if not np.isfinite(found).all():
            raise self.wrong(f"{part} must be finite")
        return found

    def end(self) -> None:
        if self.at != len(self.data):
            raise self.wrong(f"must end after {self.at} bytes, not {len(self.data)}")


def convert_published(
    published: Published, calibration: Tensor, *, name: str, activation_width: int = 16
) -> Network:
    """An image of what a file has.

    No weights are shared anew: those that share a value in the file do so in the image, and those
    that are 0 stay so. The values themselves are rounded to 16 bits; see
    :func:`golden.compress.convert.convert`.

    Parameters
    ----------
    published : Published
        What :func:`read` has found.
    calibration : Tensor of float32, ``(n, 3, 227, 227)``
        Pictures from which the radix points of all activations are chosen; see
        :func:`golden.nets.photographs.photographs`.
    name : str
        Name of the image.
    activation_width : int
        Bits of every activation, 8 or 16.

    Returns
    -------
    golden.layers.Network
        For inputs ``(227, 227, 3)``.
    """
    return convert(
        published.module,
        calibration,
        name=name,
        bits=published.bits,
        activation_width=activation_width,
    )
