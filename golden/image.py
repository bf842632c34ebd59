"""A compressed network: what it consists of, and the file it is kept in.

``docs/image.md`` describes the file. Nothing here needs torch.
"""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from golden import coding, container, metadata
from golden.coding import Streams
from golden.errors import DataError, ImageError, brief
from golden.files import check_file, write_whole
from golden.layers import MAX_NONZEROS, FullyConnected, Layer, Network, Weighted
from golden.metadata import KINDS, Spec, to_json

__all__ = [
    "MAX_FILE",
    "MAX_MEMORY",
    "FullyConnected",
    "Ledger",
    "Network",
    "digest",
    "from_bytes",
    "ledger",
    "load",
    "save",
    "to_bytes",
]

# Bounds of the format. Whatever claims more is refused before memory is set aside for it.
MAX_FILE = 2**29
MAX_MEMORY = 2**30

_FORMAT = "prunus"
_VERSION = "2"
# Memory that decoding takes whatever the size of the network: most is for the header.
_FIXED = 2**26


class Ledger(NamedTuple):
    """Where the bytes of an image's file are."""

    header: int
    """Container and metadata."""
    known_answers: int
    """Inputs and outputs kept as a test."""
    layers: dict[str, dict[str, int]]
    """For each layer with weights, bytes of its ``codes``, ``rows``, ``padding`` (the share of
    escapes in the stream of relative rows), ``tables`` (of the Huffman codes), ``codebook`` and
    ``bias``."""

    @property
    def total(self) -> int:
        """Size of the file."""
        parts = sum(sum(layer.values()) for layer in self.layers.values())
        return self.header + self.known_answers + parts


def save(network: Network, path: str | os.PathLike[str]) -> None:
    """Writes the image of ``network``, at once and whole.

    Whatever goes wrong, what was there before stays, and nothing else.

    Raises
    ------
    ImageError
        If the file would be one that :func:`load` refuses for its size.
    OSError
        If the file cannot be written.
    """
    write_whole({Path(path): to_bytes(network)})


def load(path: str | os.PathLike[str]) -> Network:
    """Reads an image.

    Raises
    ------
    ImageError
        If the file cannot be read, is damaged, or claims more than the bounds of the format. The
        message names the file, the layer and the field.
    """
    path = Path(path)
    try:
        with check_file(path, MAX_FILE).open("rb") as file:
            # It may grow meanwhile.
            data = file.read(MAX_FILE + 1)
    except DataError as error:
        raise ImageError(str(error)) from None
    except OSError as error:
        raise ImageError(f"{path}: {error.strerror}") from error
    try:
        return from_bytes(data)
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from None


def to_bytes(network: Network) -> bytes:
    """The file of an image; the same network makes the same bytes.

    Raises
    ------
    ImageError
        If the file would be one that :func:`from_bytes` refuses for its size.
    """
    return _write(network, _streams(network))


def from_bytes(data: bytes) -> Network:
    """The network whose image is ``data``.

    Raises
    ------
    ImageError
        As :func:`load` does.
    """
    # A safetensors file begins with the length of its header, which is a JSON object.
    if data[8:9] != b"{":
        raise ImageError("is not a Prunus image")
    network, stated = _read(data)
    if stated != digest(network):
        raise ImageError(
            f"the image is damaged: digest must be {digest(network)}, not {brief(stated)}"
        )
    return network


def digest(network: Network) -> str:
    """SHA-256 of all that ``network`` consists of, as 64 hexadecimal digits.

    It does not depend on how the image is coded; ``docs/image.md`` says what it is taken of.
    """
    known = (network.known_inputs, network.known_outputs)
    specs = map(metadata.describe, network.layers, network.sources)
    content = [
        network.name,
        network.activation_width,
        network.input_radix,
        network.input_shape,
        0 if network.known_inputs is None else len(network.known_inputs),
        [list(metadata.content(spec).values()) for spec in specs],
    ]
    total = hashlib.sha256(to_json(content).encode())
    arrays = [x for x in known if x is not None]
    for layer in _weighted(network):
        arrays += [layer.codes, layer.rows, layer.column_starts, layer.codebook, layer.bias]
    for array in arrays:
        little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        total.update(little.data)
    return total.hexdigest()


def ledger(network: Network) -> Ledger:
    """Where the bytes of the image of ``network`` are: the sum is the size of its file.

    Examples
    --------
    >>> from golden.nets.random import random_network
    >>> network = random_network(np.random.default_rng(0))
    >>> ledger(network).total == len(to_bytes(network))
    True
    """
    streams = _streams(network)
    layers = {network.layers[index].name: stream.sizes() for index, stream in streams.items()}
    known = sum(2 * x.size for x in (network.known_inputs, network.known_outputs) if x is not None)
    unsplit = Ledger(0, known, layers)
    return unsplit._replace(header=len(_write(network, streams)) - unsplit.total)


_SCALARS = ("format", "version", "name", "activation_width", "input_radix", "input_shape", "digest")


def _weighted(network: Network) -> list[Weighted]:
    return [layer for layer in network.layers if isinstance(layer, Weighted)]


def _streams(network: Network) -> dict[int, Streams]:
    """The weights of each layer that has some, by its index."""
    layers = enumerate(network.layers)
    return {index: Streams.of(one) for index, one in layers if isinstance(one, Weighted)}


def _write(network: Network, streams: dict[int, Streams]) -> bytes:
    specs = list(map(metadata.describe, network.layers, network.sources))
    for index, stream in streams.items():
        specs[index] = metadata.coded(specs[index], stream)
    texts = {
        "format": _FORMAT,
        "version": _VERSION,
        "name": network.name,
        "activation_width": str(network.activation_width),
        "input_radix": str(network.input_radix),
        "input_shape": to_json(network.input_shape),
        **metadata.write(specs),
        "digest": digest(network),
    }
    tensors = {}
    if network.known_inputs is not None and network.known_outputs is not None:
        tensors["known_inputs"] = network.known_inputs
        tensors["known_outputs"] = network.known_outputs
    # Tensors of 16 bits come first, to lie at even addresses.
    tensors |= {f"{index}.codebook": stream.codebook for index, stream in streams.items()}
    for index, stream in streams.items():
        tensors |= stream.tensors(index)
    data = container.write(tensors, texts)
    _check_size(len(data), specs, tensors)
    return data


def _read(data: bytes) -> tuple[Network, str]:
    """The network in a file, and the digest that the file states."""
    texts, tensors = container.read(data)
    if "format" not in texts:
        raise ImageError("is not a Prunus image")
    for field, value in ("format", _FORMAT), ("version", _VERSION):
        if texts.get(field) != value:
            raise ImageError(f"{field} must be {value!r}, not {brief(texts.get(field))}")
    optional = texts.keys() & set(Spec._fields)
    _check_names("metadata", texts.keys(), {*_SCALARS, *metadata.REQUIRED, *optional})
    specs = metadata.read(texts)
    _check_tensors(specs, tensors)
    _check_size(len(data), specs, tensors)
    network = Network(
        name=texts["name"],
        layers=tuple(_layer(index, spec, tensors) for index, spec in enumerate(specs)),
        activation_width=_number(texts, "activation_width", 8, 16),
        input_radix=_number(texts, "input_radix", 0, 15),
        known_inputs=_known(tensors, "known_inputs"),
        known_outputs=_known(tensors, "known_outputs"),
        input_shape=container.parse_json(texts["input_shape"], "input_shape"),
        sources=tuple(spec.sources for spec in specs),
    )
    return network, texts["digest"]


def _layer(index: int, spec: Spec, tensors: dict[str, np.ndarray]) -> Layer:
    fields = spec.own
    if spec.has_weights:
        parts = {part: tensors[f"{index}.{part}"] for part in coding.PARTS}
        fields |= coding.decode(spec, **parts)
    return KINDS[spec.kind](
        name=spec.layer, output_radix=spec.output_radix, activation=spec.activation, **fields
    )


def _number(texts: dict[str, str], field: str, low: int, high: int) -> int:
    value = container.parse_json(texts[field], field)
    if type(value) is not int or not low <= value <= high:
        raise ImageError(
            f"{field} must be an integer from {low} to {high}, not {brief(texts[field])}"
        )
    return value


def _check_tensors(specs: list[Spec], tensors: dict[str, np.ndarray]) -> None:
    """Refuses tensors that are missing, too many, or not of the type and shape of their kind."""
    known = {"known_inputs", "known_outputs"} if "known_inputs" in tensors else set()
    weighted = [(index, spec) for index, spec in enumerate(specs) if spec.has_weights]
    wanted = {f"{index}.{part}" for index, _ in weighted for part in coding.PARTS}
    _check_names("tensors", tensors.keys(), wanted | known)
    for index, spec in weighted:
        bias = (spec.outputs * spec.bias_width + 7) // 8
        sizes: dict[str, tuple[type, int, int]] = {
            "codebook": (np.int16, 2**spec.code_width, 2**spec.code_width),
            "bias": (np.uint8, bias, bias),
            "codes": (np.uint8, 2**spec.code_width // 2, MAX_FILE),
            "gaps": (np.uint8, 2**spec.gap_width // 2, MAX_FILE),
        }
        for part, (dtype, low, high) in sizes.items():
            tensor = tensors[f"{index}.{part}"]
            if tensor.dtype != dtype or tensor.ndim != 1 or not low <= len(tensor) <= high:
                raise ImageError(
                    f"layer {brief(spec.layer)}: {part} must be a vector of "
                    f"{np.dtype(dtype).name} with {low} to {high} elements, "
                    f"not {tensor.dtype.name} of shape {tensor.shape!r}"
                )
    for name in known:
        if tensors[name].dtype != np.int16:
            raise ImageError(f"{name} must be of dtype int16, not {tensors[name].dtype.name}")


def _check_names(about: str, found: Iterable[str], wanted: set[str]) -> None:
    for name in sorted(wanted.symmetric_difference(found)):
        state = "lack" if name in wanted else "must not have"
        raise ImageError(f"{about} {state} {brief(name)}")


def _check_size(file: int, specs: list[Spec], tensors: dict[str, np.ndarray]) -> None:
    """Refuses a file that is too large, or that would take too much memory to decode."""
    if file > MAX_FILE:
        raise ImageError(f"file must have at most {MAX_FILE} bytes, not {file}")
    weighted = [spec for spec in specs if spec.has_weights]
    nonzeros = sum(spec.nonzeros for spec in weighted)
    if nonzeros > MAX_NONZEROS:
        raise ImageError(f"nonzeros must be at most {MAX_NONZEROS} together, not {nonzeros}")
    result = file + sum(x.nbytes for name, x in tensors.items() if name.startswith("known"))
    working = 0
    for spec in weighted:
        # Codes, rows, column starts, bias and codebook stay. At its peak, decoding takes more for
        # each non-zero, escape, input and output of the layer at hand.
        result += 5 * spec.nonzeros + 8 * spec.inputs + 4 * spec.outputs + 2 * 2**spec.code_width
        gaps = spec.nonzeros + spec.escapes
        working = max(working, 48 * gaps + 32 * spec.inputs + 104 * spec.outputs)
    if result + working + _FIXED > MAX_MEMORY:
        raise ImageError(
            f"nonzeros, escapes, inputs, outputs and known answers must take at most {MAX_MEMORY} "
            f"bytes of memory, not {result + working + _FIXED}"
        )


def _known(tensors: dict[str, np.ndarray], name: str) -> np.ndarray | None:
    return tensors[name].astype(np.int16) if name in tensors else None
