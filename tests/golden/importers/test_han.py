"""The published SqueezeNet, and files that are made to be like it, or not quite."""

import os
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from golden.errors import DataError
from golden.fixed import quantise
from golden.importers import han
from golden.layers import Weighted
from golden.nets.photographs import CALIBRATION, photographs
from golden.network import answers, run

PUBLISHED = Path(__file__).parents[4] / "shared/data/squeezenet/compressed_SqueezeNet.net"

# Shapes as the paper has them, written down a second time.
FIRES = [(96, 16, 64), (128, 16, 64), (128, 32, 128), (256, 32, 128)]
FIRES += [(256, 48, 192), (384, 48, 192), (384, 64, 256), (512, 64, 256)]
SHAPES = [(96, 3, 7, 7)]
for inputs, squeeze, expand in FIRES:
    SHAPES += [(squeeze, inputs, 1, 1), (expand, squeeze, 1, 1), (expand, squeeze, 3, 3)]
SHAPES.append((1000, 512, 1, 1))


@dataclass
class Layer:
    """A layer as the file has it."""

    codebook: list[float]
    bias: list[float]
    codes: list[int]
    zeros: list[int]

    def parts(self):
        filled = [*self.zeros, 0] if len(self.zeros) % 2 else self.zeros
        halves = [low | high << 4 for low, high in zip(filled[::2], filled[1::2], strict=True)]
        return [
            struct.pack("<256f", *self.codebook),
            struct.pack(f"<{len(self.bias)}f", *self.bias),
            bytes(self.codes),
            bytes(halves),
        ]


def made_up():
    """Layers of a few entries each, those of the first few odd in number."""
    rng = np.random.default_rng(1)
    layers = []
    for index, shape in enumerate(SHAPES):
        count = 2 * int(rng.integers(10, 30)) + (index < 5)
        codes = rng.integers(0, 2 ** (4 if index % 3 else 8), count)
        layers.append(
            Layer(
                [0.0, *rng.normal(0, 0.1, 255).astype(np.float32).tolist()],
                rng.normal(0, 0.1, shape[0]).astype(np.float32).tolist(),
                codes.tolist(),
                rng.integers(0, 16, count).tolist(),
            )
        )
    return layers


def parts_of(layers):
    counts = struct.pack(f"<{len(layers)}I", *(len(layer.codes) for layer in layers))
    return [counts, *(part for layer in layers for part in layer.parts())]


@pytest.fixture
def write(tmp_path):
    def write(data):
        path = tmp_path / "made.net"
        path.write_bytes(data)
        return path

    return write


def refused(path):
    """The message, without the path it has to start with."""
    with pytest.raises(DataError) as caught:
        han.read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


def test_every_weight(write):
    """Against an interpreter that takes one entry after the other."""
    layers = made_up()
    published = han.read(write(b"".join(parts_of(layers))))
    named = dict(published.module.named_modules())
    assert published.entries == sum(len(layer.codes) for layer in layers)
    assert len(published.bits) == len(layers)
    for (name, bits), layer, shape in zip(published.bits.items(), layers, SHAPES, strict=True):
        weights, place = np.zeros(shape, np.float32), -1
        for code, zeros in zip(layer.codes, layer.zeros, strict=True):
            place += zeros + 1
            weights.flat[place] = layer.codebook[code]
        np.testing.assert_array_equal(named[name].weight.detach(), weights)
        np.testing.assert_array_equal(named[name].bias.detach(), np.float32(layer.bias))
        assert bits == max(2, max(layer.codes).bit_length())


def test_no_entries_at_all(write):
    layers = made_up()
    layers[3].codes, layers[3].zeros = [], []
    published = han.read(write(b"".join(parts_of(layers))))
    assert published.module.fire2.expand3x3.weight.count_nonzero() == 0


@pytest.mark.parametrize("layer", [0, 1, 13, 25])
def test_truncated_anywhere(layer, write):
    parts = parts_of(made_up())
    names = list(han.read(write(b"".join(parts))).bits)
    whole = b"".join(parts)
    starts = np.cumsum([0, *map(len, parts)])
    kinds = ["codebook", "bias", "codes", "positions"]
    places = [(0, "the counts of entries")]
    places += [(1 + 4 * layer + k, f"{names[layer]}: {kind}") for k, kind in enumerate(kinds)]
    for index, about in places:
        size = len(parts[index])
        for left in {0, 1, size // 2, size - 1}:
            assert refused(write(whole[: starts[index] + left])) == (
                f"{about} must have {size} bytes, but the file ends after {left}"
            )


def test_longer(write):
    whole = b"".join(parts_of(made_up()))
    assert (
        refused(write(whole + b"\0")) == f"must end after {len(whole)} bytes, not {len(whole) + 1}"
    )


def changed(layer, **fields):
    layers = made_up()
    for name, value in fields.items():
        setattr(layers[layer], name, value)
    return b"".join(parts_of(layers))


def test_wrong_counts(write):
    whole = b"".join(parts_of(made_up()))

    def counted(index, count):
        return whole[: 4 * index] + struct.pack("<I", count) + whole[4 * index + 4 :]

    counts = struct.unpack_from("<26I", whole)
    size = 96 * 3 * 49
    assert refused(write(counted(0, size + 1))) == (
        f"conv1: entries must be at most the {size} weights, not {size + 1}"
    )
    assert "conv10: entries must be at most the 512000 weights, not 4294967295" == refused(
        write(counted(25, 2**32 - 1))
    )
    # Two more or less in any layer, and what follows is no longer there or is left over.
    for index in range(26):
        for count in counts[index] + 2, counts[index] - 2:
            refused(write(counted(index, count)))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"codebook": [0.5] * 256}, "codebook must start with 0, not 0.5"),
        ({"codebook": [0.0, float("nan")] * 128}, "codebook must be finite"),
        ({"bias": [float("inf")] * 64}, "bias must be finite"),
        (
            {"codes": [1] * 64, "zeros": [15] * 64},
            "positions must lie within 1024 weights, not 1023",
        ),
        (
            {"codes": [1] * 65, "zeros": [15] * 65},
            "positions must lie within 1024 weights, not 1039",
        ),
    ],
)
def test_wrong_values(fields, message, write):
    data = changed(2, **fields)
    if message.endswith("1023"):
        # The last of all weights.
        assert han.read(write(data)).module.fire2.expand1x1.weight.flatten()[-1] != 0
    else:
        assert refused(write(data)) == f"fire2.expand1x1: {message}"


def test_half_a_byte_is_left_over(write):
    parts = parts_of(made_up())
    assert len(made_up()[0].codes) % 2
    parts[4] = parts[4][:-1] + bytes([parts[4][-1] | 0x10])
    assert refused(write(b"".join(parts))) == (
        "conv1: positions must be filled up with 0 to a whole byte"
    )


def test_no_such_file(tmp_path, monkeypatch, write):
    with pytest.raises(FileNotFoundError):
        han.read(tmp_path / "none.net")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="pipe: must be a file$"):
        han.read(tmp_path / "pipe")
    monkeypatch.setattr(han, "LARGEST_FILE", 3)
    with pytest.raises(DataError, match="must have at most 3 bytes, not 4$"):
        han.read(write(b"abcd"))


@pytest.fixture(scope="module")
def published():
    if not PUBLISHED.exists():
        pytest.skip(f"{PUBLISHED} is not there")
    return han.read(PUBLISHED)


@pytest.fixture(scope="module")
def image(published):
    pytest.importorskip("skimage")
    return han.convert_published(published, photographs(CALIBRATION, 227), name="squeezenet")


def test_published(published):
    assert (published.entries, published.size) == (422_083, 675_763)
    assert set(published.bits.values()) == {8}


def test_photographs_are_seen_as_by_floats(published, image):
    pictures = photographs(["chelsea", "coffee"], 227)
    with torch.no_grad():
        want = published.module(pictures).double()
    inputs = quantise(pictures.movedim(1, 3).flatten(1), image.input_radix, 16)
    found = answers(image, inputs) / 2.0 ** image.radixes[-1]
    assert want.argmax(dim=1).tolist() == [285, 967]
    assert found.argmax(dim=1).tolist() == [285, 967]
    assert (found - want).abs().max() < 0.02


def test_layers_compute_what_pytorch_does(published, image):
    """Each module by itself, for what the golden model makes of the layers in front of it."""
    inputs = quantise(photographs(["coffee"], 227).movedim(1, 3).flatten(1), image.input_radix, 16)
    results = run(image, inputs)
    shapes = image.shapes
    tensors = [
        inputs.view(1, *shapes[0]),
        *(x.view(1, *s) for (_, x), s in zip(results, shapes[1:], strict=True)),
    ]
    real = [
        x.movedim(3, 1).float() / 2.0**r if x.dim() == 4 else x
        for x, r in zip(tensors, image.radixes, strict=True)
    ]
    modules = dict(published.module.named_modules())
    for index, layer in enumerate(image.layers):
        if isinstance(layer, Weighted):
            (source,) = image.sources[index]
            with torch.no_grad():
                want = modules[layer.name](real[source]).relu()
            wrong = (want - real[index + 1]).abs().max()
            assert wrong < 0.002 * want.max() + 2.0**-layer.output_radix


def test_codes_are_kept(published, image):
    """What shares a value in the file does so in the image, and zeros stay zeros."""
    modules = dict(published.module.named_modules())
    for layer in image.layers:
        if isinstance(layer, Weighted):
            weights = modules[layer.name].weight.detach().movedim(1, 3).flatten(1).numpy()
            codes = np.zeros(weights.shape, np.int64)
            codes[layer.rows, layer.columns] = layer.codes
            np.testing.assert_array_equal(codes != 0, weights != 0)
            pairs = np.unique(np.stack([codes.ravel(), weights.view(np.int32).ravel()]), axis=1)
            assert pairs.shape[1] == len(np.unique(weights)) == len(np.unique(codes))
            step = 2.0**-layer.weight_radix
            assert np.abs(layer.dense() * step - weights).max() <= step / 2
