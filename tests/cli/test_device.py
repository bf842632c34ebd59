import pytest

from cli.device import DeviceFileError, find_device, parse_device
from golden.errors import DataError
from hdl.configuration import PRESETS, Configuration


def test_preset():
    assert find_device("pe16") is PRESETS["pe16"]


def test_file(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text("elements = 2\nscan_width = 2\n")
    assert find_device(str(path)) == Configuration(elements=2, scan_width=2)


def test_neither_preset_nor_file(tmp_path):
    with pytest.raises(
        DeviceFileError, match=r"^device 'pe3' must be one of pe1, pe4, .*No such file"
    ):
        find_device("pe3")
    for path in tmp_path, "/dev/zero":
        with pytest.raises(DataError, match=f"^{path}: must be a file$"):
            find_device(str(path))


def test_not_text(tmp_path):
    path = tmp_path / "small.toml"
    path.write_bytes(b"\xff")
    with pytest.raises(DeviceFileError, match=r"small.toml must be UTF-8"):
        find_device(str(path))


def test_not_toml():
    with pytest.raises(DeviceFileError, match=r"^x must be TOML: "):
        parse_device("elements: 4", origin="x")


def test_all_faults_at_once():
    text = "elements = 512\nscan_with = 4\nqueue_depth = true\nxyz = 1\nweight_depth = 7"
    with pytest.raises(DeviceFileError) as error:
        parse_device(text, origin="x")
    first, *faults = str(error.value).split("\n  ")
    assert first == "x has 5 faults:"
    assert faults[0] == "scan_with is unknown; did you mean scan_width?"
    assert faults[1].startswith("xyz is unknown; known are elements, scan_width")
    assert faults[2:] == [
        "elements must be 1 to 256, not 512",
        "queue_depth must be a positive integer, not True",
        "weight_depth must be 8 to 262144, not 7",
    ]


def test_all_clashes_at_once():
    text = "elements = 6\nscan_width = 4\nentry_width = 4\nweight_depth = 9\nbias_depth = 6"
    with pytest.raises(DeviceFileError) as error:
        parse_device(text, origin="x")
    faults = str(error.value).split("\n  ")[1:]
    assert [fault.partition(" ")[0] for fault in faults] == [
        "scan_width",
        "entry_width",
        "weight_depth",
    ]
    # A clash with scan_width can only be told once that is right.
    with pytest.raises(
        DeviceFileError, match=r"1 fault:\n  bias_depth must be a multiple of 4, not 6"
    ):
        parse_device("bias_depth = 6", origin="x")


def test_value_that_is_no_number():
    with pytest.raises(DeviceFileError, match="elements must be a positive integer, not 'many'"):
        parse_device('elements = "many"', origin="x")
    with pytest.raises(DeviceFileError, match="elements must be a positive integer, not {'a': 1}"):
        parse_device("elements.a = 1", origin="x")
