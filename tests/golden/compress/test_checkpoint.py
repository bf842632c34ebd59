import json
import re

import pytest
import torch
from safetensors.torch import save_file

from golden.compress import checkpoint
from golden.compress.checkpoint import Checkpoint
from golden.errors import DataError
from tests.limits import full_disk

KEY = "0123456789abcdef" * 4


def sample(epoch=3):
    return Checkpoint(
        KEY, epoch, {"weights.0": torch.arange(6.0).view(2, 3), "mask": ~torch.eye(2).bool()}
    )


def test_round_trip(tmp_path):
    path = tmp_path / "train.safetensors"
    checkpoint.write(path, sample())
    found = checkpoint.read(path)
    assert (found.key, found.epoch) == (KEY, 3)
    assert found.tensors.keys() == sample().tensors.keys()
    for name, tensor in sample().tensors.items():
        assert torch.equal(found.tensors[name], tensor)
    assert list(tmp_path.iterdir()) == [path]


def test_none(tmp_path):
    assert checkpoint.read(tmp_path / "train.safetensors") is None


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_interrupted_write_leaves_the_old_one(error, tmp_path, monkeypatch):
    path = tmp_path / "train.safetensors"
    checkpoint.write(path, sample(1))

    def interrupt(*_):
        raise error

    monkeypatch.setattr("pathlib.Path.replace", interrupt)
    with pytest.raises(error):
        checkpoint.write(path, sample(2))
    assert list(tmp_path.iterdir()) == [path]
    assert checkpoint.read(path).epoch == 1


def test_full_disk_is_said_of_the_checkpoint(tmp_path):
    path = tmp_path / "train.safetensors"
    with full_disk(), pytest.raises(OSError, match="File too large") as error:
        checkpoint.write(path, sample())
    assert error.value.filename == str(path)
    assert list(tmp_path.iterdir()) == []


def test_truncated(tmp_path):
    path = tmp_path / "train.safetensors"
    checkpoint.write(path, sample())
    data = path.read_bytes()
    for end in range(0, len(data), 7):
        path.write_bytes(data[:end])
        with pytest.raises(DataError, match=rf"^{re.escape(str(path))} is no checkpoint; remove "):
            checkpoint.read(path)


@pytest.mark.parametrize(
    "state",
    [
        None,
        "no JSON",
        json.dumps(3),
        json.dumps({"key": KEY}),
        json.dumps({"key": KEY, "epoch": "3"}),
        json.dumps({"key": KEY, "epoch": -1}),
        json.dumps({"key": KEY[1:], "epoch": 3}),
    ],
)
def test_somebody_elses_file(state, tmp_path):
    path = tmp_path / "train.safetensors"
    metadata = None if state is None else {"prunus-checkpoint": state}
    save_file({"x": torch.zeros(1)}, path, metadata)
    with pytest.raises(DataError, match=r"is no checkpoint; remove it, or do not resume"):
        checkpoint.read(path)
