import hashlib
import json
import os
import re
import stat
import subprocess
import sys
import tracemalloc
from dataclasses import replace
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
from golden.image import FullyConnected, Network, digest, from_bytes, ledger, load, save, to_bytes
from golden.layers import Concatenation, Weighted
from golden.nets.random import random_network
from tests.golden.strategies import (
    content,
    graphs,
    layers,
    matrix_layer,
    networks,
    small_graph,
    small_layer,
    small_network,
    uint8,
)
from tests.limits import full_disk

CODED = ("bias_width", "row_major", "gap_width", "escapes")
DOCUMENT = Path(__file__).parents[2] / "docs" / "image.md"


def stored_metadata(data):
    return json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]


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
    columns = {
        key: json.loads(meta[key])
        for key in meta.keys() - {"format", "version", "name", "digest", "input_shape"}
        if meta[key].startswith("[")
    }
    flags = {"ceil_mode", "count_padding"}
    for k in range(len(columns["layer"])):
        own = {key: column[k] for key, column in columns.items() if column[k] is not None}
        layer = {"name": own["layer"]} | {
            key: bool(value) if key in flags else tuple(value) if type(value) is list else value
            for key, value in own.items()
            if key not in {"layer", "sources", "outputs", "inputs", "nonzeros", *CODED}
        }
        layers.append(layer)
        if own["kind"] not in ("fully_connected", "convolution"):
            continue
        inputs = own["inputs"]
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
        layer |= {
            "codes": ("|u1", [code for _, _, code in entries]),
            "rows": ("<i4", [row for _, row, _ in entries]),
            "column_starts": (
                "<i8",
                [sum(column < c for column, _, _ in entries) for c in range(inputs + 1)],
            ),
            "codebook": ("<i2", halves(tensors[f"{k}.codebook"])),
            "bias": (
                "<i4",
                [signed(packed[i * width : (i + 1) * width]) for i in range(own["outputs"])],
            ),
        }
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
        "input_shape": tuple(json.loads(meta["input_shape"])),
        "sources": tuple(map(tuple, columns["sources"])),
    }


@given(networks() | graphs())
def test_another_reader_finds_the_same(network):
    assert another_reader(to_bytes(network)) == content(network)


@given(networks() | graphs())
def test_round_trip(network):
    data = to_bytes(network)
    result = from_bytes(data)
    assert content(result) == content(network)
    assert to_bytes(result) == data
    assert digest(result) == digest(network)


@given(networks() | graphs())
def test_ledger_counts_every_byte(network):
    data = to_bytes(network)
    book = ledger(network)
    assert book.total == len(data)
    assert book.header == 8 + int.from_bytes(data[:8], "little")
    tensors = {name: t["data"] for name, t in deserialize(data)}
    assert book.known_answers == sum(len(x) for n, x in tensors.items() if n.startswith("known"))
    meta = json.loads(data[8 : book.header])["__metadata__"]
    weighted = [k for k, layer in enumerate(network.layers) if isinstance(layer, Weighted)]
    assert list(book.layers) == [network.layers[k].name for k in weighted]
    for k in weighted:
        layer = network.layers[k]
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
    tiny = FullyConnected.from_matrix(
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
    header = header.replace("\n", "").encode() + b" " * 6
    assert data == len(header).to_bytes(8, "little") + header + bytes.fromhex(tensors)


@given(networks() | graphs())
def test_digest_is_as_documented(network):
    def escaped(text):
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    def array(values, size):
        return b"".join(int(x).to_bytes(size, "little", signed=size > 1) for x in values)

    known = (network.known_inputs, network.known_outputs)

    def numbers(values):
        return "[" + ",".join(str(int(x)) for x in values) + "]"

    def described(x, sources):
        fields = [escaped(x.name), escaped(x.kind), numbers(sources), x.output_radix]
        fields.append(escaped(x.activation))
        for name in "outputs", "inputs", "nonzeros", "code_width", "weight_radix":
            fields.append(getattr(x, name, "null"))
        for name in "kernel", "stride", "padding":
            fields.append(numbers(getattr(x, name)) if hasattr(x, name) else "null")
        fields.append(getattr(x, "groups", "null"))
        for name in "ceil_mode", "count_padding":
            fields.append(int(getattr(x, name)) if hasattr(x, name) else "null")
        return "[" + ",".join(map(str, fields)) + "]"

    layers = ",".join(map(described, network.layers, network.sources))
    count = 0 if known[0] is None else len(known[0])
    text = (
        f"[{escaped(network.name)},{network.activation_width},{network.input_radix},"
        f"{numbers(network.input_shape)},{count},[{layers}]]"
    ).encode()
    text += b"".join(array(x.ravel(), 2) for x in known if x is not None)
    for x in network.layers:
        if isinstance(x, Weighted):
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


def test_digest_depends_on_the_graph():
    whole = small_graph()
    changes = [
        (CONV, {"stride": (1, 2)}),
        (CONV, {"padding": (0, 1, 2, 1)}),
        (MAX, {"kernel": (1, 2)}),
        (MAX, {"ceil_mode": True}),
        (MAX, {"activation": "relu"}),
        (AVERAGE, {"count_padding": True}),
        (AVERAGE, {"weight_radix": 3}),
        (ADD, {"name": "other"}),
    ]
    found = {digest(whole), digest(replace(whole, sources=(*whole.sources[:4], (4, 2), (5,))))}
    found.add(digest(replace(whole, sources=((0,), (0,), *whole.sources[2:]))))
    for index, change in changes:
        layers = list(whole.layers)
        layers[index] = replace(layers[index], **change)
        # Some leave shapes that no longer fit: what follows is not needed for a digest.
        layers, sources = layers[: index + 1], whole.sources[: index + 1]
        if index > CONV:
            sources = [*((k,) for k in range(index)), (index,) * layers[-1].sources[0]]
        found.add(digest(replace(whole, layers=tuple(layers), sources=tuple(sources))))
    assert len(found) == len(changes) + 3


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
        ({"version": "1"}, r"version must be '2', not '1'"),
        ({"version": "3"}, r"version must be '2', not '3'"),
        ({"digest": "0" * 64}, r"the image is damaged: digest must be [0-9a-f]{64}, not '0{64}'"),
        ({"digest": None}, r"metadata lack 'digest'"),
        ({"sources": None}, r"metadata lack 'sources'"),
        ({"escapes": None}, r"layer 'fc': escapes must be an integer .*, not None"),
        ({"kernel": "[null]"}, r"kernel must be left out, as it is null for every layer"),
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
        ({"input_shape": "4"}, r"input_shape must be 1 or 3 integers from 1 to 16777216, not 4"),
        ({"input_shape": "[0]"}, r"input_shape must be 1 or 3 integers .*, not \(0\)"),
        ({"input_shape": "[2,2]"}, r"input_shape must be 1 or 3 integers .*, not \(2, 2\)"),
        ({"input_shape": "[]"}, r"input_shape must be 1 or 3 integers .*, not \(\)"),
        ({"input_shape": "[true]"}, r"input_shape must be 1 or 3 integers .*, not \(True\)"),
        ({"input_shape": "[[4]]"}, r"input_shape must be 1 or 3 integers .*, not \(a list\)"),
        ({"input_shape": "[16777217]"}, r"input_shape must be 1 or 3 integers .*, not \(16777217"),
        (
            {"input_shape": "[4096,4096,2]"},
            r"input_shape must make at most 16777216 activations, not 33554432",
        ),
        ({"input_shape": "[NaN]"}, r"input_shape must be JSON: NaN is not a whole number"),
        ({"input_shape": "[" * 100_000}, r"input_shape must be JSON: "),
        ({"input_shape": "1" * 5000}, r"input_shape must be JSON: "),
        ({"input_shape": "[3]"}, r"layer 'fc': inputs must be 3, as many activations as its sourc"),
        ({"inputs": "[0]"}, r"layer 'fc': inputs must be an integer from 1 to 1048576, not 0"),
        ({"inputs": "[1048577]"}, r"layer 'fc': inputs must be an integer from 1 to 1048576, not"),
        ({"inputs": "[3]"}, r"layer 'fc': rows must lie within the matrix of 9 weights, not at .*"),
        ({"kind": '["dense"]'}, r"layer 'fc': kind must be one of \('fully_connected', .*, not 'd"),
        ({"kind": "[[]]"}, r"layer 'fc': kind must be one of .*, not a list"),
        ({"kind": '["max"]'}, r"layer 'fc': outputs must be null for the kind 'max', not 3"),
        ({"kind": '["convolution"]'}, r"layer 'fc': kernel must be 2 integers .*, not None"),
        ({"sources": "[0]"}, r"layer 'fc': sources must be 1 integer from 0 to 0, not 0"),
        ({"sources": "[[1]]"}, r"layer 'fc': sources must be 1 integer from 0 to 0, not \(1\)"),
        ({"sources": "[[-1]]"}, r"layer 'fc': sources must be 1 integer from 0 to 0, not \(-1\)"),
        ({"sources": "[[0,0]]"}, r"layer 'fc': sources must be 1 integer .*, not \(0, 0\)"),
        ({"sources": "[[]]"}, r"layer 'fc': sources must be 1 integer .*, not \(\)"),
        ({"sources": "[null]"}, r"layer 'fc': sources must be 1 integer .*, not None"),
        ({"kernel": "[[1,1]]"}, r"layer 'fc': kernel must be null for the kind 'fully_connected'"),
        ({"groups": "[1]"}, r"layer 'fc': groups must be null for the kind 'fully_connected', no"),
        ({"outputs": "[null]"}, r"outputs must be left out, as it is null for every layer"),
        ({"layer": "[]"}, r"layer must name 1 to 1024 layers, not 0"),
        ({"layer": str(["fc"] * 1025).replace("'", '"')}, r"layer must name 1 to 1024 layers, no"),
        ({"layer": '["fc","fc2"]'}, r"kind must have 2 elements, one a layer, not 1"),
        ({"outputs": "[3,3]"}, r"outputs must have 1 elements, one a layer, not 2"),
        ({"layer": "[7]"}, r"layer 7: name must be 1 to 128 printable characters, not 7"),
        ({"layer": '["a\\ud800b"]'}, r"layer 'a\\ud800b': name must be 1 to 128 printable char"),
        ({"layer": '{"fc": 1, "fc": 2}'}, r"layer must be JSON: a key occurs twice"),
        ({"layer": '{"fc": 1}'}, r"layer must be a list, one element a layer"),
        ({"outputs": "[6]"}, r"layer 'fc': bias must be a vector of uint8 with 3 to 3 elements, "),
        ({"outputs": "[4]"}, r"the image is damaged: digest must be "),
        ({"outputs": "[0]"}, r"layer 'fc': outputs must be an integer from 1 to 1048576, not 0"),
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


def stated(field, index, value):
    """A change of the metadata of :func:`small_graph`: one element of a column is another."""
    column = json.loads(stored_metadata(to_bytes(small_graph()))[field])
    column[index] = value
    return {field: json.dumps(column)}


CONV, MAX, AVERAGE, ADD, CONCATENATE, FC = range(6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (stated("kind", MAX, "average"), r"layer 'max': count_padding must be an integer from 0 "),
        (stated("kind", ADD, "concatenate"), r"layer 'fc': inputs must be 24, as many activations"),
        (stated("kind", CONV, "fully_connected"), r"layer 'conv': kernel must be null for the kin"),
        (stated("kind", FC, "convolution"), r"layer 'fc': kernel must be 2 integers from 1 to 102"),
        (
            stated("kind", ADD, "max"),
            r"layer 'add': ceil_mode must be an integer from 0 to 1, not ",
        ),
        (
            {"input_shape": "[32]"},
            r"layer 'conv': sources must be a feature map \(height, width, c",
        ),
        (
            {"input_shape": "[4,4,1]"},
            r"layer 'conv': inputs must be 9, as many activations as a wi",
        ),
        ({"input_shape": "[1,4,2]"}, r"layer 'max': kernel must fit its source of shape \(1, 4, 2"),
        ({"input_shape": "[4,6,2]"}, r"layer 'fc': inputs must be 24, as many activations as its "),
        ({"input_shape": "[4096,4096,1]"}, r"layer 'conv': inputs must be 9, as many activations "),
        (stated("inputs", CONV, 9), r"the image is damaged|layer 'conv': "),
        (stated("kernel", CONV, [0, 3]), r"layer 'conv': kernel must be 2 integers from 1 to 1024"),
        (stated("kernel", CONV, [3]), r"layer 'conv': kernel must be 2 integers .*, not \(3\)"),
        (
            stated("kernel", CONV, [3, True]),
            r"layer 'conv': kernel must be 2 integers .*, not \(3, T",
        ),
        (stated("kernel", CONV, None), r"layer 'conv': kernel must be 2 integers .*, not None"),
        (
            stated("kernel", CONV, [9, 1]),
            r"layer 'conv': kernel must fit its source of shape \(4, ",
        ),
        (
            stated("kernel", CONV, [2, 3]),
            r"layer 'conv': inputs must be 12",
        ),
        (
            stated("kernel", CONV, [1024, 1024]),
            r"layer 'conv': inputs must be a multiple of 104857",
        ),
        (
            stated("kernel", CONV, [4, 1]),
            r"layer 'conv': inputs must be a multiple of 4, the area ",
        ),
        (
            stated("kernel", MAX, [2, 2, 2]),
            r"layer 'max': kernel must be 2 integers .*, not \(2, 2",
        ),
        (
            stated("kernel", ADD, [2, 2]),
            r"layer 'add': kernel must be null for the kind 'add', not",
        ),
        (stated("kernel", AVERAGE, [2, 3]), r"layer 'average': weight_radix must be at least 3 fo"),
        (stated("stride", CONV, [0, 1]), r"layer 'conv': stride must be 2 integers from 1 to 1024"),
        (stated("stride", CONV, [10**30, 1]), r"layer 'conv': stride must be 2 integers from 1 to"),
        (
            stated("stride", MAX, [1, 2]),
            r"layer 'add': sources must be of one shape, not \(3, 2, 2",
        ),
        (stated("padding", CONV, [1, 1, 1]), r"layer 'conv': padding must be 4 integers from 0 to"),
        (stated("padding", CONV, [1, 1, 1, -1]), r"layer 'conv': padding must be 4 integers from "),
        (stated("padding", CONV, [1024, 0, 0, 0]), r"layer 'conv': padding must be 4 integers fro"),
        (stated("padding", MAX, [0, 0, 2, 0]), r"layer 'max': padding must be less than the kern"),
        (stated("groups", CONV, 0), r"layer 'conv': groups must be an integer from 1 to 1048576, "),
        (stated("groups", CONV, 3), r"layer 'conv': groups must divide the 2 outputs, which 3 doe"),
        (stated("groups", CONV, 2), r"layer 'conv': inputs must be 9, as many activations as a wi"),
        (stated("groups", CONV, "2"), r"layer 'conv': groups must be an integer from 1 to 1048576"),
        (stated("ceil_mode", MAX, 2), r"layer 'max': ceil_mode must be an integer from 0 to 1, no"),
        (stated("ceil_mode", MAX, True), r"layer 'max': ceil_mode must be an integer from 0 to 1,"),
        (stated("ceil_mode", MAX, 1), r"the image is damaged: digest must be "),
        (
            stated("ceil_mode", CONV, 0),
            r"layer 'conv': ceil_mode must be null for the kind 'convol",
        ),
        (stated("ceil_mode", AVERAGE, None), r"layer 'average': ceil_mode must be an integer from"),
        (stated("count_padding", AVERAGE, 1), r"the image is damaged: digest must be "),
        (stated("count_padding", MAX, 0), r"layer 'max': count_padding must be null for the kind "),
        (stated("weight_radix", AVERAGE, 32), r"layer 'average': weight_radix must be an integer "),
        (stated("weight_radix", AVERAGE, 1), r"layer 'average': weight_radix must be at least 2 f"),
        (
            stated("weight_radix", ADD, 1),
            r"layer 'add': weight_radix must be null for the kind 'ad",
        ),
        (stated("nonzeros", MAX, 0), r"layer 'max': nonzeros must be null for the kind 'max', not"),
        (
            stated("bias_width", ADD, 1),
            r"layer 'add': bias_width must be null for the kind 'add', ",
        ),
        (stated("output_radix", MAX, 3), r"layer 'concatenate': sources must have one radix point"),
        (stated("output_radix", MAX, -16), r"layer 'concatenate': sources must have one radix poi"),
        (
            stated("output_radix", FC, 8),
            r"layer 'fc': output_radix must make the shift 0 to 47, no",
        ),
        (stated("output_radix", ADD, 32), r"layer 'add': output_radix must be an integer from -16"),
        (stated("activation", ADD, "elu"), r"layer 'add': activation must be one of .*, not 'elu'"),
        (
            stated("sources", MAX, [2]),
            r"layer 'max': sources must be 1 integer from 0 to 1, not \(",
        ),
        (stated("sources", MAX, [0]), r"the image is damaged: digest must be "),
        (stated("sources", ADD, [2]), r"layer 'add': sources must be 2 integers from 0 to 3, not "),
        (
            stated("sources", ADD, [2, 2]),
            r"layer 'average': must be among the sources of a ",
        ),
        (
            stated("sources", ADD, [2, 1]),
            r"layer 'average': must be among the sources of a ",
        ),
        (
            stated("sources", CONCATENATE, [2]),
            r"layer 'concatenate': sources must be 2 to 64 integ",
        ),
        (
            stated("sources", CONCATENATE, [2] * 65),
            r"layer 'concatenate': sources must be 2 to 64 ",
        ),
        (stated("sources", CONCATENATE, [2, 1]), r"layer 'add': must be among the sources of a la"),
        (stated("sources", CONCATENATE, [0, 4]), r"layer 'concatenate': sources must be of one sh"),
        (stated("sources", CONCATENATE, [2, 4, 4]), r"layer 'fc': inputs must be 24, as many acti"),
        (stated("outputs", CONV, 3), r"layer 'fc': inputs must be 24, as many activations as its"),
    ],
)
def test_wrong_metadata_of_a_graph(changes, message):
    data = to_bytes(small_graph())
    with pytest.raises(ImageError, match=f"^{message}"):
        from_bytes(edited(data, **changes))


@pytest.mark.parametrize(
    "name", [f"{index}.{part}" for index in (MAX, ADD) for part in ("codebook", "bias", "gaps")]
)
def test_layers_without_weights_have_no_tensors(name):
    data = rebuilt(to_bytes(small_graph()), tensors=replaced(name, uint8(0)))
    with pytest.raises(ImageError, match=rf"^tensors must not have '{name}'"):
        from_bytes(data)


def test_every_flipped_bit_of_a_graph_is_refused():
    data = bytearray(to_bytes(small_graph()))
    for bit in range(0, 8 * len(data), 3):
        data[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ImageError):
            from_bytes(bytes(data))
        data[bit // 8] ^= 1 << bit % 8


def test_claims_of_a_graph_take_no_memory():
    """Feature maps, padding and sums of sizes that would fill any memory."""
    data = to_bytes(small_graph())
    claims = [
        {"input_shape": "[16777216,16777216,16777216]"},
        {"input_shape": "[2,8388608,1]"} | stated("padding", CONV, [1023] * 4),
        {"input_shape": "[16777216,1,2]"},
        {"input_shape": "[2048,4096,2]"},
        {"input_shape": "[1024,1024,2]"} | stated("padding", CONV, [1023] * 4),
    ]
    for claim in claims:
        tracemalloc.start()
        with pytest.raises(ImageError, match=r"activations|padding"):
            from_bytes(edited(data, **claim))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 2**22


def test_channels_that_double_are_refused():
    """A thousand concatenations of a tensor with itself."""
    layers = [small_layer()]
    layers += [Concatenation(name=str(k), output_radix=2, activation="none") for k in range(1000)]
    sources = [(0,), *((k + 1, k + 1) for k in range(1000))]
    with pytest.raises(ImageError, match=r"^layer '22': outputs must be at most 16777216 activat"):
        small_network(layers=layers, sources=sources)


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
        "input_shape": "[1048576]",
        "inputs": "[1048576]",
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
    fields = {
        "kind": "fully_connected",
        "outputs": side,
        "inputs": side,
        "nonzeros": 0,
        "code_width": 2,
        "weight_radix": 0,
    }
    fields |= {"output_radix": 0, "bias_width": 1, "row_major": 0, "gap_width": 1, "escapes": 0}
    columns = {key: json.dumps([value] * 128) for key, value in fields.items()}
    columns |= {
        "layer": json.dumps([str(k) for k in range(128)]),
        "activation": json.dumps(["none"] * 128),
        "input_shape": f"[{side}]",
        "sources": json.dumps([[k] for k in range(128)]),
    }
    tensors = {}
    for k in range(128):
        tensors[f"{k}.codebook"] = np.zeros(4, np.int16)
        tensors[f"{k}.bias"] = np.zeros(side // 8, np.uint8)
        tensors[f"{k}.codes"] = np.zeros(2, np.uint8)
        tensors[f"{k}.gaps"] = np.zeros(1, np.uint8)
    data = rebuilt(to_bytes(small_network()), lambda old: old | columns, lambda _: tensors)
    tracemalloc.start()
    with pytest.raises(ImageError, match=r"^nonzeros, escapes, inputs, outputs and known answ"):
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
