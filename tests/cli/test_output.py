import json
from pathlib import Path

import numpy as np
import pytest

from cli.output import Output, check_apart, check_target
from golden.errors import DataError


def test_either_json_or_text(capsys):
    assert Output(True).emit({"a": np.array([1, 2]), "b": np.float32(0.5)})
    assert json.loads(capsys.readouterr().out) == {"a": [1, 2], "b": 0.5}
    assert not Output(False).emit({"a": 1})
    assert capsys.readouterr().out == ""


def test_what_json_cannot_say():
    with pytest.raises(ValueError, match="not JSON compliant"):
        Output(True).emit({"a": float("nan")})
    with pytest.raises(TypeError, match="is not for JSON"):
        Output(True).emit({"a": object()})


def test_table(capsys):
    Output(False).table(
        "Title", ["name", "number"], [["a", 1234], ["[b]", None], ["c", 5.25]], total=["all", 7]
    )
    assert capsys.readouterr().out.splitlines() == [
        "Title",
        "name   number",
        "─────────────",
        "a       1,234",
        "[b]",
        "c         5.2",
        "─────────────",
        "all         7",
        "",
    ]


def test_progress_is_silent_without_a_terminal(capsys):
    with Output(False).progress("x", 3) as advance:
        advance(2)
    assert capsys.readouterr() == ("", "")


def test_check_target(tmp_path):
    assert check_target(tmp_path / "x") == tmp_path / "x"
    with pytest.raises(DataError, match="is a folder; the image needs a name in it"):
        check_target(tmp_path, "image")
    with pytest.raises(DataError, match="none: No such file or directory, but the file is"):
        check_target(tmp_path / "none" / "x")
    with pytest.raises(DataError, match="/dev/null: must be a file"):
        check_target(Path("/dev/null"))


def test_check_apart(tmp_path):
    first, second = tmp_path / "x", tmp_path / "y"
    check_apart([first, None, second], [None, tmp_path / "z"])
    with pytest.raises(DataError, match="x: cannot be written, it is another output as well"):
        check_apart([first, second, tmp_path / "." / "x"])
    second.symlink_to(first)
    with pytest.raises(DataError, match="y: cannot be written, it is an input as well"):
        check_apart([second], [first])
