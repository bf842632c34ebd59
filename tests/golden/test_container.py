import json

import pytest

from golden import container
from golden.errors import ImageError
from golden.image import from_bytes, to_bytes
from tests.golden.strategies import content, small_network


def with_header(text, tensors=b""):
    if not isinstance(text, bytes):
        text = text.encode()
    return len(text).to_bytes(8, "little") + text + tensors


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"header must follow its length of 8 bytes, not end after 0"),
        (bytes(7), r"header must follow its length of 8 bytes, not end after 7"),
        (bytes(8), r"header must be JSON: "),
        (b"\xff" * 100, r"header must have at most 1048576 bytes, not 18446744073709551615"),
        (b"\x01\x00\x10" + bytes(2**20), r"header must have at most 1048576 bytes, not 1048577"),
        (b"\x09" + bytes(15), r"header must have its 9 bytes, not end after 8"),
        (with_header(b"\xff{}"), r"header must be JSON: "),
        (with_header("[]"), r"header must be a JSON object"),
        (with_header("{"), r"header must be JSON: "),
        (with_header("{} {}"), r"header must be JSON: "),
        (with_header('{"a":NaN}'), r"header must be JSON: NaN is not a whole number"),
        (with_header('{"a":-Infinity}'), r"header must be JSON: -Infinity is not a whole number"),
        (with_header('{"a":1e999}'), r"header must be JSON: 1e999 is not a whole number"),
        (with_header('{"a":1,"a":1}'), r"header must be JSON: a key occurs twice"),
        (with_header("[" * 2**20), r"header must be JSON: "),
        (with_header('{"a":' * 2**17), r"header must be JSON: "),
        (with_header('{"__metadata__":[]}'), r"metadata must be a JSON object of strings"),
        (with_header('{"__metadata__":{"a":1}}'), r"metadata must be a JSON object of strings"),
        (with_header('{"a":1}'), r"tensor 'a' must have a dtype, a shape and data_offsets, and"),
        (with_header('{"a":{"dtype":"U8"}}'), r"tensor 'a' must have a dtype, a shape and data_"),
    ],
)
def test_wrong_container(data, message):
    with pytest.raises(ImageError, match=f"^{message}"):
        container.read(data)


@pytest.mark.parametrize(
    ("dtype", "shape", "offsets", "message"),
    [
        ("F64", [0], [0, 0], r"dtype must be one of \('U8', 'I16'\), not 'F64'"),
        ([], [0], [0, 0], r"dtype must be one of \('U8', 'I16'\), not a list"),
        ("U8", 4, [0, 4], r"shape must be 1 to 2 sizes, not 4"),
        ("U8", [], [0, 4], r"shape must be 1 to 2 sizes, not a list"),
        ("U8", [1, 2, 2], [0, 4], r"shape must be 1 to 2 sizes, not a list"),
        ("U8", [-4], [0, 4], r"shape must be 1 to 2 sizes, not a list"),
        ("U8", [True, 4], [0, 4], r"shape must be 1 to 2 sizes, not a list"),
        ("U8", [2**62, 4], [0, 4], r"shape must be 1 to 2 sizes, not a list"),
        ("U8", [2**40, 2**40], [0, 4], r"shape must make 4 bytes of U8, not \[1099511627776, 10"),
        ("I16", [4], [0, 4], r"shape must make 4 bytes of I16, not \[4\]"),
        ("U8", [4], [4], r"data_offsets must be a range within 4 bytes, not \[4\]"),
        ("U8", [4], [4, 0], r"data_offsets must be a range within 4 bytes, not \[4, 0\]"),
        ("U8", [5], [0, 5], r"data_offsets must be a range within 4 bytes, not \[0, 5\]"),
        ("U8", [4], [-4, 0], r"data_offsets must be 1 to 2 sizes, not a list"),
    ],
)
def test_wrong_place_of_tensor(dtype, shape, offsets, message):
    header = json.dumps({"a": {"dtype": dtype, "shape": shape, "data_offsets": offsets}})
    with pytest.raises(ImageError, match=f"^tensor 'a': {message}"):
        container.read(with_header(header, bytes(4)))


@pytest.mark.parametrize(
    ("places", "message"),
    [
        ([(0, 3), (2, 4)], r"tensor 'b' must start at byte 3, not 2"),
        ([(0, 4), (0, 4)], r"tensor 'b' must start at byte 4, not 0"),
        ([(0, 1), (2, 4)], r"tensor 'b' must start at byte 1, not 2"),
        ([(1, 2), (2, 4)], r"tensor 'a' must start at byte 0, not 1"),
        ([(0, 1), (1, 3)], r"tensors must have 4 bytes together, not 3"),
    ],
)
def test_overlaps_and_holes(places, message):
    header = {
        name: {"dtype": "U8", "shape": [stop - start], "data_offsets": [start, stop]}
        for name, (start, stop) in zip("ab", places, strict=True)
    }
    with pytest.raises(ImageError, match=f"^{message}$"):
        container.read(with_header(json.dumps(header), bytes(4)))


def test_places_in_any_order():
    data = to_bytes(small_network())
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    turned = json.dumps(dict(reversed(header.items())))
    assert content(from_bytes(with_header(turned, data[8 + size :]))) == content(small_network())


def test_header_too_large():
    with pytest.raises(ImageError, match=r"^header must have at most 1048576 bytes, not 1048608$"):
        container.write({}, {"a": "b" * 2**20})
