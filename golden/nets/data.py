"""Data sets: the digits inside scikit-learn, and MNIST and Fashion-MNIST from IDX files on disk.

Nothing is ever downloaded: a data set that is missing gives an error with the command to get it.
"""

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from golden.errors import DataError
from golden.nets.sources import COMMANDS, DATASETS, find_file, folders, is_complete

__all__ = ["Dataset", "load_dataset", "read_idx"]

# Far above the 47 MB of MNIST's training images, far below what would exhaust a machine.
LARGEST_IDX = 1 << 28


@dataclass(frozen=True, eq=False)
class Dataset:
    """Pictures with one class each, split into what is trained on and what is tested on.

    Attributes
    ----------
    name : str
        One of :data:`golden.nets.sources.DATASETS`.
    train_x, test_x : Tensor of float32, ``(pictures, height * width)``
        Grey values from 0 to 1.
    train_y, test_y : Tensor of int64, ``(pictures,)``
        Classes, from 0.
    height, width : int
        Size of a picture in pixels.
    """

    name: str
    train_x: Tensor
    train_y: Tensor
    test_x: Tensor
    test_y: Tensor
    height: int
    width: int


def load_dataset(name: str) -> Dataset:
    """Read a data set.

    MNIST and Fashion-MNIST are looked for in ``$PRUNUS_DATA/<name>``, in ``$PRUNUS_DATA`` itself
    (taken for MNIST, unless that folder is called ``fashion-mnist``), and where Debian's package
    puts them, ``/usr/share/datasets/<name>``.

    Parameters
    ----------
    name : str
        One of :data:`golden.nets.sources.DATASETS`.

    Returns
    -------
    Dataset
        Digits: 1,397 training and 400 test pictures of 8x8, always the same split. The others:
        60,000 and 10,000 pictures of 28x28.

    Raises
    ------
    ValueError
        If there is no data set of that name.
    DataError
        If the data set is not on this machine (the message has the command that gets it), or if
        one of its files is damaged.

    Examples
    --------
    >>> digits = load_dataset("digits")
    >>> digits.train_x.shape, digits.test_x.shape
    (torch.Size([1397, 64]), torch.Size([400, 64]))
    """
    if name not in DATASETS:
        raise ValueError(f"name must be one of {', '.join(DATASETS)}, not {name!r}")
    return _digits() if name == "digits" else _mnist(name)


def _digits() -> Dataset:
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError as error:
        raise DataError(
            f"Data set 'digits' needs scikit-learn. To get it: {COMMANDS['digits']}"
        ) from error

    digits = load_digits()
    # The stream of the older generator is frozen, so the split is the same with every numpy.
    order = np.random.RandomState(0).permutation(len(digits.target))
    x = torch.from_numpy((digits.data[order] / 16).astype(np.float32))
    y = torch.from_numpy(digits.target[order].astype(np.int64))
    return Dataset("digits", x[:-400], y[:-400], x[-400:], y[-400:], height=8, width=8)


def _mnist(name: str) -> Dataset:
    folder = _folder(name)
    train, test = _mnist_part(folder, "train"), _mnist_part(folder, "t10k")
    return Dataset(name, *train, *test, height=28, width=28)


def _mnist_part(folder: Path, part: str) -> tuple[Tensor, Tensor]:
    images_path = find_file(folder, f"{part}-images-idx3-ubyte")
    labels_path = find_file(folder, f"{part}-labels-idx1-ubyte")
    assert images_path is not None  # the folder was chosen for having it
    if labels_path is None:
        raise DataError(f"{folder} has {images_path.name}, but no {part}-labels-idx1-ubyte")
    images, labels = read_idx(images_path, dims=3), read_idx(labels_path, dims=1)
    if images.shape[1:] != (28, 28):
        raise DataError(
            f"{images_path}: pictures must be 28x28, not {images.shape[1]}x{images.shape[2]}"
        )
    if len(images) == 0 or len(images) != len(labels):
        raise DataError(
            f"{labels_path}: {len(labels)} labels, but {len(images)} pictures in {images_path.name}"
        )
    if labels.max() > 9:
        raise DataError(f"{labels_path}: labels must be 0 to 9, not {labels.max()}")
    x = torch.from_numpy(images.reshape(len(images), -1).astype(np.float32) / 255)
    return x, torch.from_numpy(labels.astype(np.int64))


def _folder(name: str) -> Path:
    candidates = folders(name)
    for folder in candidates:
        if is_complete(folder):
            return folder
    raise DataError(
        f"Data set {name!r} is not in {' nor in '.join(map(str, candidates))}. "
        f"To get it: {COMMANDS[name]}"
    )


def read_idx(path: Path, *, dims: int) -> np.ndarray:
    """Read an IDX file of bytes, plain or gzipped.

    The format is a magic number, the sizes, and the bytes, as described with MNIST. The reader is
    strict: magic, number of dimensions and length must all be right, and nothing may follow. It
    never holds more than `LARGEST_IDX` bytes, whatever a compressed file would grow to.

    Parameters
    ----------
    path : Path
        The file; whether it is gzipped is seen from its content.
    dims : int
        Number of dimensions it must have.

    Returns
    -------
    ndarray of uint8, of ``dims`` dimensions

    Raises
    ------
    DataError
        If the file cannot be read or is not such a file. The message starts with its path.
    """
    try:
        with path.open("rb") as file:
            zipped = file.read(2) == b"\x1f\x8b"
        with gzip.open(path) if zipped else path.open("rb") as file:
            header = file.read(4 + 4 * dims)
            if len(header) < 4 + 4 * dims:
                raise DataError(f"{path}: the header ends after {len(header)} bytes")
            magic, wanted = int.from_bytes(header[:4], "big"), 0x0800 | dims
            if magic != wanted:
                raise DataError(f"{path}: magic number must be 0x{wanted:08x}, not 0x{magic:08x}")
            shape = [int.from_bytes(header[at : at + 4], "big") for at in range(4, len(header), 4)]
            size = 1
            for count in shape:
                size *= count
            if size > LARGEST_IDX:
                raise DataError(
                    f"{path}: sizes {shape} are {size} bytes, more than {LARGEST_IDX} are refused"
                )
            # One byte more than there should be shows whether anything follows.
            data = file.read(size + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: {error}") from error
    if len(data) != size:
        found = "more" if len(data) > size else str(len(data))
        raise DataError(f"{path}: sizes {shape} need {size} bytes, but there are {found}")
    return np.frombuffer(data, np.uint8).reshape(shape)
