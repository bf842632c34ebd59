import os
import re
from pathlib import Path

import pytest

from golden.errors import DataError
from golden.files import check_file, write_whole
from tests.limits import full_disk


def names(folder):
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_check_file(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"12345")
    assert check_file(path, 5) == path
    with pytest.raises(DataError, match=f"^{path}: must have at most 4 bytes, not 5$"):
        check_file(path, 4)
    with pytest.raises(FileNotFoundError):
        check_file(tmp_path / "none", 4)


def test_what_is_no_file(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in tmp_path, pipe, Path("/dev/zero"):
        with pytest.raises(DataError, match=f"^{re.escape(str(path))}: must be a file$"):
            check_file(path, 100)


def test_writes_what_it_is_given(tmp_path):
    x, y = tmp_path / "x", tmp_path / "y"
    write_whole({x: "täxt\n", y: b"\xff"})
    assert (x.read_bytes(), y.read_bytes()) == ("täxt\n".encode(), b"\xff")
    write_whole({x: b"other"})
    write_whole({})
    assert x.read_bytes() == b"other"
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("large", ["x", "y"])
def test_one_that_cannot_be_written_leaves_all_as_they_were(tmp_path, large):
    (tmp_path / "x").write_text("old")
    contents = {tmp_path / name: "new" * (100 if name == large else 1) for name in "xy"}
    with full_disk(), pytest.raises(OSError, match="File too large") as error:
        write_whole(contents)
    assert error.value.filename == str(tmp_path / large)
    assert names(tmp_path) == {"x": "old"}


def test_missing_folder(tmp_path):
    path = tmp_path / "none" / "x"
    with pytest.raises(FileNotFoundError) as error:
        write_whole({tmp_path / "y": "new", path: "new"})
    assert (error.value.filename, error.value.filename2) == (str(path), None)
    assert names(tmp_path) == {}


def test_interrupt_leaves_what_was(tmp_path, monkeypatch):
    (tmp_path / "x").write_text("old")

    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("pathlib.Path.replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_whole({tmp_path / "x": "new"})
    assert names(tmp_path) == {"x": "old"}
