import hashlib
import json
import os
import re
import stat
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from bitarray import bitarray
from bitarray.util import canonical_decode
from hypothesis import given, settings
from safetensors import deserialize, safe_open
from safetensors.numpy import save as safetensors_save

from golden import huffman, image
from golden.errors import ImageError
from golden.image import Layer, Network, digest, from_bytes, ledger, load, save, to_bytes
from golden.nets.random import random_network
from tests.golden.strategies import (
    content,
    layers,
    matrix_layer,
    networks,
    small_layer,
    small_network,
    uint8,
)
from tests.limits import full_disk

DOCUMENT = Path(__file__).parents[2] / "docs" / "image.md"


def edited(data, **changes):
    """The file ``data`` with other metadata; None takes a key away."""
    return rebuilt(data, metadata=lambda old: {k: v for k, v in (old | changes).items() if v})


def rebuilt(data, metadata=lambda old: old, tensors=lambda old: old):
    """The file ``data`` with other metadata and tensors, written by the safetensors package."""
    arrays = {
        name: np.frombuffer(t["data"], {"U8": "u1", "I16": "<i2"}[t["dtype"]]).reshape(t["shape"])
        for name, t in deserialize(data)
    }
    return safetensors_save(tensors(arrays), metadata=metadata(stored_metadata(data)))


def another_reader(data):
    """Every field of the network in ``data``, after docs/image.md: in plain Python, bit by bit."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    meta = header.pop("__metadata__")
    tensors = {
        name: data[8 + size + t["data_offsets"][0] : 8 + size + t["data_offsets"][1]]
        for name, t in header.items()
    }

    def signed(text):
        return int(text, 2) - (2 ** len(text) if text[0] == "1" else 0)

    def bits(tensor):
        return "".join(f"{byte:08b}" for byte in tensor)

    def halves(tensor):
        return [
            int.from_bytes(tensor[i : i + 2], "little", signed=True)
            for i in range(0, len(tensor), 2)
        ]

    def stream(tensor, alphabet, count):
        lengths = [int(x, 16) for x in tensor.hex()[:alphabet]]
        order = sorted((x for x in range(alphabet) if lengths[x]), key=lambda x: (lengths[x], x))
        numbers = [0, *(lengths.count(x) for x in range(1, 13))]
        rest = bitarray(bits(tensor[alphabet // 2 :]))
        decoder = canonical_decode(rest, numbers, order) if order else iter(())
        return [next(decoder) for _ in range(count)]

    layers = []
    inputs = int(meta["inputs"])
    columns = {
        key: json.loads(meta[key])
        for key in meta.keys() - {"format", "version", "name", "digest"}
        if meta[key].startswith("[")
    }
    for k in range(len(columns["layer"])):
        own = {key: column[k] for key, column in columns.items()}
        codes = stream(tensors[f"{k}.codes"], 2 ** own["code_width"], own["nonzeros"])
        symbols = stream(
            tensors[f"{k}.gaps"], 2 ** own["gap_width"], own["nonzeros"] + own["escapes"]
        )
        position = 0
        entries = []
        for symbol in symbols:
            position += symbol
            if symbol < 2 ** own["gap_width"] - 1:
                if own["row_major"]:
                    row, column = divmod(position, inputs)
                else:
                    column, row = divmod(position, own["outputs"])
                entries.append((column, row, codes[len(entries)]))
                position += 1
        entries.sort()
        width = own["bias_width"]
        packed = bits(tensors[f"{k}.bias"])
        layers.append(
            {
                "name": own["layer"],
                "codes": ("|u1", [code for _, _, code in entries]),
                "rows": ("<i4", [row for _, row, _ in entries]),
                "column_starts": (
                    "<i8",
                    [sum(column < c for column, _, _ in entries) for c in range(inputs + 1)],
                ),
                "codebook": ("<i2", halves(tensors[f"{k}.codebook"])),
                "code_width": own["code_width"],
                "weight_radix": own["weight_radix"],
                "bias": (
                    "<i4",
                    [signed(packed[i * width : (i + 1) * width]) for i in range(own["outputs"])],
                ),
                "output_radix": own["output_radix"],
                "activation": own["activation"],
            }
        )
        inputs = own["outputs"]
    known = {"known_inputs": None, "known_outputs": None}
    for name in known.keys() & tensors.keys():
        flat = halves(tensors[name])
        side = header[name]["shape"][1]
        known[name] = ("<i2", [flat[i : i + side] for i in range(0, len(flat), side)])
    return known | {
        "name": meta["name"],
        "layers": layers,
        "activation_width": int(meta["activation_width"]),
        "input_radix": int(meta["input_radix"]),
    }


@given(networks())
def test_another_reader_finds_the_same(network):
    assert another_reader(to_bytes(network)) == content(network)


@given(networks())
def test_round_trip(network):
    data = to_bytes(network)
    result = from_bytes(data)
    assert content(result) == content(network)
    assert to_bytes(result) == data
    assert digest(result) == digest(network)


@given(networks())
def test_ledger_counts_every_byte(network):
    data = to_bytes(network)
    book = ledger(network)
    assert book.total == len(data)
    assert book.header == 8 + int.from_bytes(data[:8], "little")
    tensors = {name: t["data"] for name, t in deserialize(data)}
    assert book.known_answers == sum(len(x) for n, x in tensors.items() if n.startswith("known"))
    meta = json.loads(data[8 : book.header])["__metadata__"]
    for k, layer in enumerate(network.layers):
        parts = book.layers[layer.name]
        gap_table = 2 ** json.loads(meta["gap_width"])[k] // 2
        code_table = 2**layer.code_width // 2
        assert parts["codebook"] == len(tensors[f"{k}.codebook"])
        assert parts["bias"] == len(tensors[f"{k}.bias"])
        assert parts["tables"] == gap_table + code_table
        assert parts["codes"] == len(tensors[f"{k}.codes"]) - code_table
        assert parts["rows"] + parts["padding"] == len(tensors[f"{k}.gaps"]) - gap_table
        escape_word = tensors[f"{k}.gaps"][gap_table - 1] & 15
        escapes = json.loads(meta["escapes"])[k]
        assert abs(8 * parts["padding"] - escapes * escape_word) <= 4
        assert min(parts.values()) >= 0


@pytest.mark.parametrize(("density", "code_width"), [(0.08, 6), (0.05, 4)])
def test_little_is_spent_beside_the_streams(density, code_width):
    shape = (784, 300, 100, 10)
    book = ledger(random_network(np.random.default_rng(0), shape, density, code_width))
    streams = sum(x["codes"] + x["rows"] + x["padding"] + x["bias"] for x in book.layers.values())
    assert book.total - streams < 2000


@pytest.mark.parametrize("transposed", [False, True])
def test_smaller_order_is_taken(transposed):
    """Full columns between empty ones are cheaper row by row; full rows, column by column."""
    codes = np.zeros((64, 40), np.uint8)
    codes[:, ::5] = np.random.default_rng(1).integers(1, 4, (64, 8))
    one = small_network(layers=(matrix_layer(codes.T if transposed else codes),))
    data = to_bytes(one)
    assert stored_metadata(data)["row_major"] == ("[0]" if transposed else "[1]")
    assert content(from_bytes(data)) == content(one)


@given(layers())
def test_smallest_form_is_taken(layer):
    def size(positions, width):
        escape = 2**width - 1
        symbols = []
        behind = 0
        for position in positions:
            symbols += [escape] * ((position - behind) // escape)
            symbols.append((position - behind) % escape)
            behind = position + 1
        counts = np.bincount(np.array(symbols, np.int64), minlength=2**width)
        bits = int(counts @ huffman.lengths(counts))
        return (bits + 7) // 8 + 2**width // 2

    by_row = np.flatnonzero(code_matrix(layer))
    by_column = np.flatnonzero(code_matrix(layer).T)
    best = min(size(order, width) for order in (by_row, by_column) for width in range(1, 9))
    one = Network("net", (layer,), 16, 0)
    assert len(dict(deserialize(to_bytes(one)))["0.gaps"]["data"]) == best


def code_matrix(layer):
    matrix = np.zeros(layer.shape, np.uint8)
    matrix[layer.rows, layer.columns] = layer.codes
    return matrix


def test_document_matches():
    """The example in the documentation is what the package writes."""
    text = DOCUMENT.read_text()
    header, tensors = (
        re.search(rf"```{kind}\n(.*?)```", text, re.DOTALL)[1] for kind in ("json", "hex")
    )
    codes = [[0, 0, 0, 0, 1], [0, 1, 0, 0, 0], [3, 0, 2, 0, 0], [0, 1, 0, 0, 0]]
    tiny = Layer.from_matrix(
        "fc",
        np.array(codes, np.uint8),
        codebook=np.array([0, 64, -32, 16], np.int16),
        code_width=2,
        weight_radix=6,
        bias=np.array([40, -3, 0, 7], np.int32),
        output_radix=4,
        activation="relu",
    )
    data = to_bytes(Network("tiny", (tiny,), 8, 4))
    header = header.replace("\n", "").encode() + b" " * 5
    assert data == len(header).to_bytes(8, "little") + header + bytes.fromhex(tensors)


@given(networks())
def test_digest_is_as_documented(network):
    def escaped(text):
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    def array(values, size):
        return b"".join(int(x).to_bytes(size, "little", signed=size > 1) for x in values)

    known = (network.known_inputs, network.known_outputs)
    layers = ",".join(
        f"[{escaped(x.name)},{x.inputs},{x.outputs},{x.nonzeros},{x.code_width},"
        f"{x.weight_radix},{x.output_radix},{escaped(x.activation)}]"
        for x in network.layers
    )
    count = 0 if known[0] is None else len(known[0])
    text = (
        f"[{escaped(network.name)},{network.activation_width},{network.input_radix},{count},"
        f"[{layers}]]"
    ).encode()
    text += b"".join(array(x.ravel(), 2) for x in known if x is not None)
    for x in network.layers:
        text += array(x.codes, 1) + array(x.rows, 4) + array(x.column_starts, 8)
        text += array(x.codebook, 2) + array(x.bias, 4)
    assert digest(network) == hashlib.sha256(text).hexdigest()


def test_digest_depends_on_everything():
    known = {"known_inputs": np.ones((1, 4), np.int16), "known_outputs": np.ones((1, 3), np.int16)}
    changed_layers = [
        {"name": "other"},
        {"codes": np.array([1, 3, 2, 2], np.uint8)},
        {"rows": np.array([0, 2, 0, 2], np.int32)},
        {"column_starts": np.array([0, 2, 3, 3, 4])},
        {"codebook": np.array([0, 5, -6, 8], np.int16)},
        {"weight_radix": 4},
        {"bias": np.array([1, -2, 4], np.int32)},
        {"output_radix": 3},
        {"activation": "relu"},
    ]
    changes = [
        {},
        {"name": "other"},
        {"activation_width": 16},
        {"input_radix": 5},
        known,
        known | {"known_inputs": np.zeros((1, 4), np.int16)},
        known | {"known_outputs": np.zeros((1, 3), np.int16)},
        *({"layers": (small_layer(**change),)} for change in changed_layers),
        {"layers": (small_layer(), matrix_layer(np.zeros((3, 3), np.uint8), "fc2"))},
    ]
    assert len({digest(small_network(**change)) for change in changes}) == len(changes)


@given(networks())
@settings(max_examples=20)
def test_safetensors_package_reads_and_writes_it(network):
    data = to_bytes(network)
    assert content(from_bytes(rebuilt(data))) == content(network)


def test_safetensors_package_opens_it(tmp_path):
    save(small_network(), tmp_path / "a.prunus")
    with safe_open(tmp_path / "a.prunus", framework="numpy") as file:
        assert file.metadata()["format"] == "prunus"
        assert file.get_tensor("0.codebook").tolist() == [0, 5, -6, 7]


def test_save_and_load(tmp_path):
    path = tmp_path / "net.prunus"
    save(small_network(name="first"), path)
    save(small_network(), str(path))
    assert path.read_bytes() == to_bytes(small_network())
    assert content(load(str(path))) == content(small_network())
    assert list(tmp_path.iterdir()) == [path]


def test_saved_file_has_ordinary_permissions(tmp_path):
    path = tmp_path / "net.prunus"
    old = os.umask(0o027)
    try:
        save(small_network(), path)
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.parametrize("existing", [False, True])
def test_full_disk_leaves_what_was(tmp_path, existing):
    path = tmp_path / "net.prunus"
    if existing:
        path.write_text("precious")
    with pytest.raises(OSError, match="File too large"), full_disk():
        save(small_network(), path)
    assert [x.read_text() for x in tmp_path.iterdir()] == ["precious"] * existing


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_interrupt_leaves_what_was(tmp_path, monkeypatch, step):
    def interrupt(*args):
        raise KeyboardInterrupt

    path = tmp_path / "net.prunus"
    path.write_text("precious")
    monkeypatch.setattr(*{"fsync": (os, "fsync"), "replace": (Path, "replace")}[step], interrupt)
    with pytest.raises(KeyboardInterrupt):
        save(small_network(), path)
    assert [x.read_text() for x in tmp_path.iterdir()] == ["precious"]


def test_save_into_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError):
        save(small_network(), tmp_path / "missing" / "net.prunus")


def test_load_missing(tmp_path):
    path = tmp_path / "net.prunus"
    with pytest.raises(ImageError, match=f"^{re.escape(str(path))}: No such file or directory$"):
        load(path)


def test_load_what_is_no_file(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in tmp_path, pipe:
        with pytest.raises(ImageError, match=f"^{re.escape(str(path))}: must be a file$"):
            load(path)


def test_load_huge_file(tmp_path):
    path = tmp_path / "net.prunus"
    path.touch()
    os.truncate(path, 2**29 + 1)
    with pytest.raises(ImageError, match=r": must have at most 536870912 bytes, not 536870913$"):
        load(path)


def test_load_names_the_file(tmp_path):
    path = tmp_path / "net.prunus"
    path.write_bytes(to_bytes(small_network())[:-1])
    with pytest.raises(ImageError, match=f"^{re.escape(str(path))}: tensor '0.gaps': data_offsets"):
        load(path)


def test_every_truncation_is_refused():
    data = to_bytes(small_network())
    for size in range(len(data)):
        with pytest.raises(ImageError):
            from_bytes(data[:size])
    with pytest.raises(ImageError, match=r"^tensors must have \d+ bytes together, not \d+$"):
        from_bytes(data + b"\0")


def test_every_flipped_bit_is_refused():
    data = bytearray(to_bytes(small_network()))
    for bit in range(8 * len(data)):
        data[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ImageError):
            from_bytes(bytes(data))
        data[bit // 8] ^= 1 << bit % 8


@pytest.mark.parametrize(
    "data", [b"", b"name = 'digits'\n", b"{}", b"\x89PNG\r\n\x1a\n" + bytes(99)]
)
def test_another_kind_of_file(data):
    with pytest.raises(ImageError, match=r"^is not a Prunus image$"):
        from_bytes(data)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "onnx"}, r"format must be 'prunus', not 'onnx'"),
        ({"format": None}, "is not a Prunus image"),
        ({"version": "2"}, r"version must be '1', not '2'"),
        ({"digest": "0" * 64}, r"the image is damaged: digest must be [0-9a-f]{64}, not '0{64}'"),
        ({"digest": None}, r"metadata lack 'digest'"),
        ({"escapes": None}, r"metadata lack 'escapes'"),
        ({"author": "me"}, r"metadata must not have 'author'"),
        ({"name": "\t"}, r"name must be 1 to 128 printable characters, not '\\t'"),
        (
            {"name": "other"},
            r"the image is damaged: digest must be [0-9a-f]{64}, not '[0-9a-f]{64}'",
        ),
        ({"activation_width": "12"}, r"activation_width must be 8 or 16, not 12"),
        ({"activation_width": "17"}, r"activation_width must be an integer from 8 to 16, not '17"),
        ({"input_radix": "8"}, r"input_radix must be an integer from 0 to 7, not 8"),
        ({"input_radix": "4.0"}, r"input_radix must be JSON: 4\.0 is not a whole number"),
        ({"input_radix": "true"}, r"input_radix must be an integer from 0 to 15, not 'true'"),
        ({"inputs": "0"}, r"inputs must be an integer from 1 to 1048576, not '0'"),
        ({"inputs": "1048577"}, r"inputs must be an integer from 1 to 1048576, not '1048577'"),
        ({"inputs": "NaN"}, r"inputs must be JSON: NaN is not a whole number"),
        ({"inputs": "[" * 100_000}, r"inputs must be JSON: "),
        ({"inputs": "1" * 5000}, r"inputs must be JSON: "),
        ({"inputs": "3"}, r"layer 'fc': rows must lie within the matrix of 9 weights, not at .*"),
        ({"layer": "[]"}, r"layer must name 1 to 1024 layers, not 0"),
        ({"layer": str(["fc"] * 1025).replace("'", '"')}, r"layer must name 1 to 1024 layers, no"),
        ({"layer": '["fc","fc2"]'}, r"outputs must have 2 elements, one a layer, not 1"),
        ({"outputs": "[3,3]"}, r"outputs must have 1 elements, one a layer, not 2"),
        ({"layer": "[7]"}, r"layer 7: name must be 1 to 128 printable characters, not 7"),
        ({"layer": '["a\\ud800b"]'}, r"layer 'a\\ud800b': name must be 1 to 128 printable char"),
        ({"layer": '{"fc": 1, "fc": 2}'}, r"layer must be JSON: a key occurs twice"),
        ({"layer": '{"fc": 1}'}, r"layer must be a list, one element a layer"),
        ({"outputs": "[6]"}, r"layer 'fc': bias must be a vector of uint8 with 3 to 3 elements, "),
        ({"outputs": "[4]"}, r"the image is damaged: digest must be "),
        ({"outputs": "[0]"}, r"layer 'fc': outputs must be an integer from 1 to 1048576, not 0"),
        ({"outputs": "[null]"}, r"layer 'fc': outputs must be an integer .*, not None"),
        ({"outputs": "[[[3]]]"}, r"layer 'fc': outputs must be an integer .*, not a list"),
        ({"nonzeros": "[1]"}, r"layer 'fc': codes: data must end with its last word, filled up "),
        ({"nonzeros": "[3]"}, r"layer 'fc': gaps must lead to 3 non-zeros, the last one at the e"),
        ({"nonzeros": "[5]"}, r"layer 'fc': rows must lie within the matrix of 12 weights, not a"),
        ({"nonzeros": "[8]"}, r"layer 'fc': codes: data must hold 8 symbols, but ends after 6"),
        ({"nonzeros": "[-1]"}, r"layer 'fc': nonzeros must be an integer from 0 to 16777216, not"),
        ({"nonzeros": "[16777216]"}, r"layer 'fc': codes: data must hold 16777216 symbols, not 8"),
        ({"code_width": "[3]"}, r"layer 'fc': codebook must be a vector of int16 with 8 to 8 ele"),
        ({"code_width": "[9]"}, r"layer 'fc': code_width must be an integer from 2 to 8, not 9"),
        ({"weight_radix": "[32]"}, r"layer 'fc': weight_radix must be an integer from 0 to 31, n"),
        ({"output_radix": "[-17]"}, r"layer 'fc': output_radix must be an integer from -16 to 31"),
        ({"output_radix": "[8]"}, r"layer 'fc': output_radix must make the shift 0 to 47, not -1"),
        ({"activation": '["tanh"]'}, r"layer 'fc': activation must be one of \('none', 'relu'\),"),
        ({"activation": "[[]]"}, r"layer 'fc': activation must be one of .*, not a list"),
        ({"bias_width": "[33]"}, r"layer 'fc': bias_width must be an integer from 1 to 32, not 3"),
        ({"bias_width": "[2]"}, r"layer 'fc': bias must be a vector of uint8 with 1 to 1 element"),
        ({"bias_width": "[4]"}, r"the image is damaged: digest must be "),
        ({"row_major": "[2]"}, r"layer 'fc': row_major must be an integer from 0 to 1, not 2"),
        ({"row_major": "[1]"}, r"the image is damaged: digest must be "),
        ({"gap_width": "[9]"}, r"layer 'fc': gap_width must be an integer from 1 to 8, not 9"),
        ({"gap_width": "[8]"}, r"layer 'fc': gaps must be a vector of uint8 with 128 to "),
        ({"escapes": "[7]"}, r"layer 'fc': gaps"),
        ({"escapes": "[16777217]"}, r"layer 'fc': escapes must be an integer from 0 to 16777216"),
    ],
)
def test_wrong_metadata(changes, message):
    data = to_bytes(small_network())
    with pytest.raises(ImageError, match=f"^{message}"):
        from_bytes(edited(data, **changes))


def test_too_many_nonzeros_together():
    two = small_network(layers=(small_layer(), matrix_layer(np.ones((1, 3), np.uint8), "fc2")))
    data = edited(to_bytes(two), nonzeros="[16777216,1]")
    with pytest.raises(ImageError, match=r"^nonzeros must be at most 16777216 together, not 167"):
        from_bytes(data)


def replaced(name, tensor):
    return lambda old: old | {name: tensor}


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (lambda old: {k: v for k, v in old.items() if k != "0.bias"}, r"tensors lack '0\.bias'"),
        (replaced("1.bias", uint8(0)), r"tensors must not have '1\.bias'"),
        (replaced("known_outputs", uint8(0)), r"tensors must not have 'known_outputs'"),
        (replaced("known_inputs", uint8(0)), r"tensors lack 'known_outputs'"),
        (
            lambda old: old | {"known_inputs": uint8(0), "known_outputs": uint8(0)},
            r"known_(in|out)puts must be of dtype int16, not uint8",
        ),
        (
            replaced("0.codebook", np.array([1, 2, 3, 4], np.int16)),
            r"layer 'fc': codebook must start with 0, not 1",
        ),
        (
            replaced("0.codebook", np.zeros((2, 2), np.int16)),
            r"layer 'fc': codebook must be a vector of int16 with 4 to 4 elements, not int16 of",
        ),
        (
            replaced("0.bias", np.zeros(2, np.int16)),
            r"layer 'fc': bias must be a vector of uint8 with 2 to 2 elements, not int16 of",
        ),
        (
            replaced("0.bias", np.zeros((2, 1), np.uint8)),
            r"layer 'fc': bias must be a vector of uint8 with 2 to 2 elements, not uint8 of",
        ),
        # Code 0, which means no weight, has a word and occurs.
        (
            replaced("0.codes", uint8(0x12, 0x20, 0b00101100)),
            r"layer 'fc': codes must lie within 1 to 3, not 0 to 2",
        ),
        (
            replaced("0.codes", uint8(0x11, 0x11, 0)),
            r"layer 'fc': codes: lengths must use up the 4096 words of 12 bits, not 8192 of them",
        ),
        (
            replaced("0.codes", uint8(0x00, 0x1F, 0)),
            r"layer 'fc': codes: lengths must be at most 12, not 15",
        ),
        (replaced("0.codes", uint8(0)), r"layer 'fc': codes must be a vector of uint8 with 2 to "),
        (
            replaced("0.codes", uint8(0x00, 0x00, 0)),
            r"layer 'fc': codes: lengths must give 4 symbols a word, but there is none",
        ),
        # 12 symbols of one bit, 1 the escape: of the non-zeros there are too many, or too few, or
        # four but then an escape.
        (replaced("0.gaps", uint8(0x11, 0xFE, 0x00)), r"layer 'fc': gaps must lead to 4 non-zeros"),
        (replaced("0.gaps", uint8(0x11, 0xFF, 0x80)), r"layer 'fc': gaps must lead to 4 non-zeros"),
        (replaced("0.gaps", uint8(0x11, 0x0F, 0xF0)), r"layer 'fc': gaps must lead to 4 non-zeros"),
        (
            replaced("0.bias", uint8(0x39, 0x81)),
            r"layer 'fc': bias must be filled up with zeros to",
        ),
    ],
)
def test_wrong_tensors(tensors, message):
    data = to_bytes(small_network())
    assert stored_metadata(data)["escapes"] == "[8]"
    with pytest.raises(ImageError, match=f"^{message}"):
        from_bytes(rebuilt(data, tensors=tensors))


def test_claims_take_no_memory():
    """Files of less than 200 kB that claim all the format allows."""
    huge = {
        "inputs": "1048576",
        "outputs": "[1048576]",
        "nonzeros": "[16777216]",
        "escapes": "[16777216]",
        "bias_width": "[1]",
    }
    data = to_bytes(small_network())
    bias = replaced("0.bias", np.zeros(2**17, np.uint8))
    files = [
        rebuilt(data, lambda old: old | huge, bias),
        rebuilt(data, lambda old: old | huge | {"escapes": "[0]"}, bias),
        rebuilt(data, lambda old: old | {"nonzeros": "[16777216]"}),
        rebuilt(data, lambda old: old | {"escapes": "[16000000]"}),
    ]
    for file in files:
        tracemalloc.start()
        with pytest.raises(ImageError):
            from_bytes(file)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 2**22


def test_memory_of_many_wide_layers_is_refused():
    """128 layers of 2**20 outputs: 16 MiB of biases would decode to 1.5 GiB."""
    side = 2**20
    fields = {"outputs": side, "nonzeros": 0, "code_width": 2, "weight_radix": 0}
    fields |= {"output_radix": 0, "bias_width": 1, "row_major": 0, "gap_width": 1, "escapes": 0}
    columns = {key: json.dumps([value] * 128) for key, value in fields.items()}
    columns |= {
        "layer": json.dumps([str(k) for k in range(128)]),
        "activation": json.dumps(["none"] * 128),
        "inputs": str(side),
    }
    tensors = {}
    for k in range(128):
        tensors[f"{k}.codebook"] = np.zeros(4, np.int16)
        tensors[f"{k}.bias"] = np.zeros(side // 8, np.uint8)
        tensors[f"{k}.codes"] = np.zeros(2, np.uint8)
        tensors[f"{k}.gaps"] = np.zeros(1, np.uint8)
    data = rebuilt(to_bytes(small_network()), lambda old: old | columns, lambda _: tensors)
    tracemalloc.start()
    with pytest.raises(ImageError, match=r"^nonzeros, escapes, outputs and known answers must tak"):
        from_bytes(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**24


@pytest.mark.parametrize(
    ("shape", "density", "columns"),
    [
        ((1000, 1000), 1.0, 1),
        ((1000, 1000), 1.0, 7),
        ((1000, 1000), 0.2, 1),
        ((1000, 1000), 0.01, 1),
        ((200_000, 1), 0.1, 1),
        ((1, 200_000), 0.1, 1),
        ((200_000, 1), 0.001, 1),
        ((1, 200_000), 0.001, 1),
    ],
)
def test_decoding_takes_no_more_memory_than_foreseen(monkeypatch, shape, density, columns):
    """Where all but every so many columns are empty, the matrix is stored row by row."""
    rng = np.random.default_rng(0)
    codes = rng.integers(1, 4, shape, np.uint8) * (rng.random(shape) < density)
    codes[:, np.arange(shape[1]) % columns > 0] = 0
    data = to_bytes(small_network(layers=(matrix_layer(codes.astype(np.uint8)),)))
    assert columns == 1 or stored_metadata(data)["row_major"] == "[1]"
    tracemalloc.start()
    from_bytes(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    monkeypatch.setattr(image, "_FIXED", 2**18)
    monkeypatch.setattr(image, "MAX_MEMORY", peak)
    with pytest.raises(ImageError, match=rf"must take at most {peak} bytes of memory"):
        from_bytes(data)


def test_too_large_to_be_written(monkeypatch):
    monkeypatch.setattr(image, "MAX_FILE", 500)
    with pytest.raises(ImageError, match=r"^file must have at most 500 bytes, not \d+$"):
        to_bytes(small_network())


def test_header_holds_the_longest_names():
    """1024 layers with names of 128 characters of 4 bytes."""
    one = np.zeros((1, 1), np.uint8)
    names = [f"{k:\U0001f352>128}" for k in range(1024)]
    data = to_bytes(small_network(layers=tuple(matrix_layer(one, name) for name in names)))
    assert [x.name for x in from_bytes(data).layers] == names


def test_zeros_too_many_to_be_written():
    """Between the two weights of this matrix there are 2**40 zeros."""
    side = 2**20
    one = small_layer(
        codes=np.array([1, 1], np.uint8),
        rows=np.array([0, side - 1], np.int32),
        column_starts=np.array([0, *[1] * (side - 1), 2]),
        bias=np.zeros(side, np.int32),
    )
    with pytest.raises(ImageError, match=r"^layer 'fc': rows must not lie so far apart$"):
        to_bytes(small_network(layers=(one,)))


def test_reading_needs_no_torch():
    script = "import sys, golden.image; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)


def stored_metadata(data):
    return json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
