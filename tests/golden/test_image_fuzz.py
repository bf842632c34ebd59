"""Damaged and forged images: each is refused with an ImageError, or is a network after all."""

import json
import re
import resource
import signal
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from golden import image
from golden.errors import ImageError
from golden.image import Network, digest, from_bytes, to_bytes
from golden.metadata import KINDS
from golden.nets.random import random_network
from tests.golden.strategies import content, small_graph

EXAMPLES = 10_000


def images():
    """Small images of every kind: narrow and wide, empty and dense, chains and graphs, with known
    answers or not."""
    rng = np.random.default_rng(11)
    shapes = [(1, 1), (5, 4), (9, 8, 3), (40, 3, 1, 6)]
    kinds = [(0.0, 2, 8), (0.15, 8, 16), (0.4, 3, 8), (1.0, 2, 16)]
    files = []
    for shape in shapes:
        for density, code_width, width in kinds:
            bare = random_network(rng, shape, density, code_width, width)
            known = {
                f"known_{side}": rng.integers(-128, 128, (2, size), np.int16)
                for side, size in (("inputs", shape[0]), ("outputs", shape[-1]))
            }
            files.append(to_bytes(Network("net", bare.layers, width, bare.input_radix, **known)))
            files.append(to_bytes(bare))
    zeros = {
        "known_inputs": np.zeros((1, 32), np.int16),
        "known_outputs": np.zeros((1, 3), np.int16),
    }
    return [*files, *[to_bytes(small_graph()), to_bytes(small_graph(**zeros))] * 4]


FILES = images()


def parts(data):
    size = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def join(header, tensors):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + tensors


def at(place, size):
    """The integer below ``size`` that lies as far up as ``place`` does below 2**16."""
    return place * size >> 16


def flipped(data, positions):
    """Some bits are others."""
    changed = bytearray(data)
    for place, bit in positions:
        changed[at(place, len(data))] ^= 1 << bit
    return bytes(changed)


def cut(data, place, longer):
    """The end is missing, or there is more behind it."""
    end = at(place, len(data) + 1)
    return data + data[end:] if longer else data[:end]


def spliced(data, place, other, second):
    """The start is of one file and the end of another, or of the same one."""
    other = data if other is None else other
    return data[: at(place, len(data))] + other[at(second, len(other)) :]


def overwritten(data, place, offset, new):
    """Some bytes of a tensor are others."""
    header, tensors = parts(data)
    first, last = named(header, place)["data_offsets"]
    start = first + at(offset, last - first)
    return join(header, tensors[:start] + new + tensors[start + len(new) :])


def misstated(data, key, place, value):
    """The metadata say something else of one layer."""
    header, tensors = parts(data)
    layers = json.loads(header["__metadata__"]["layer"])
    column = json.loads(header["__metadata__"].get(key, json.dumps([None] * len(layers))))
    column[at(place, len(column))] = value
    header["__metadata__"][key] = json.dumps(column)
    return join(header, tensors)


def reworded(data, key, new, text):
    """A string of the metadata is another, is missing, is there twice, or there is one more."""
    header, tensors = parts(data)
    metadata = header["__metadata__"]
    if new == "twice":
        pair = f"{json.dumps(key)}: {json.dumps(metadata[key])}".encode()
        return join(json.dumps(header).encode().replace(pair, pair + b", " + pair), tensors)
    if new == "missing":
        del metadata[key]
    else:
        metadata[text if new == "more" else key] = text
    return join(header, tensors)


def described(data, place, field, value):
    """A tensor's description has another field."""
    header, tensors = parts(data)
    named(header, place)[field] = value
    return join(header, tensors)


def resized(data, place, field, index, number):
    """A tensor claims to be larger or smaller, or to lie elsewhere."""
    header, tensors = parts(data)
    sizes = named(header, place)[field]
    sizes[at(index, len(sizes))] = number
    return join(header, tensors)


def grown(data, place, more):
    """A tensor has more bytes, and those behind it have moved up: the container is whole."""
    header, tensors = parts(data)
    entry = named(header, place)
    start, stop = entry["data_offsets"]
    if entry["dtype"] == "I16":
        more = 2 * more
    entry["shape"][0] += len(more) // (2 if entry["dtype"] == "I16" else 1)
    for name in header.keys() - {"__metadata__"}:
        own, end = header[name]["data_offsets"]
        moved = [own + len(more) * (own > start), end + len(more) * (own >= start)]
        header[name]["data_offsets"] = moved
    return join(header, tensors[:stop] + more + tensors[stop:])


def renamed(data, place, second, kind):
    """A tensor is missing, is there twice, is called otherwise, or is another one."""
    header, tensors = parts(data)
    names = sorted(header.keys() - {"__metadata__"})
    name, other = names[at(place, len(names))], names[at(second, len(names))]
    if kind == "swapped":
        header[name], header[other] = header[other], header[name]
    elif kind == "missing":
        del header[name]
    else:
        header[kind] = header[name] if kind.startswith("9") else header.pop(name)
    return join(header, tensors)


def named(header, place):
    names = sorted(header.keys() - {"__metadata__"})
    return header[names[at(place, len(names))]]


files = st.sampled_from(FILES)
places = st.integers(0, 2**16 - 1)
columns = [key for key, text in parts(FILES[-1])[0]["__metadata__"].items() if text[0] == "["]
keys = [key for key in parts(FILES[0])[0]["__metadata__"] if key != "digest"]
sizes = st.sampled_from(["shape", "data_offsets"])
numbers = st.one_of(
    st.integers(-2, 70),
    st.sampled_from([127, 128, 255, 256, 2**16, 2**20, 2**20 + 1, 2**24, 2**24 + 1, 2**25]),
    st.sampled_from([-(2**31), 2**31, 2**32, 2**40, 2**63, 2**64, 10**30]),
)
values = st.one_of(
    numbers,
    st.sampled_from([None, True, False, 0.5, float("nan"), float("inf"), "", "relu", "none"]),
    st.sampled_from([[], {}, [0], [[0]], {"a": 1}, ["fc1"], "I16", "U8", "F64", "\ud800"]),
    st.lists(st.integers(0, 4), min_size=1, max_size=4),
    st.sampled_from(list(KINDS)),
)
texts = st.one_of(
    values.map(json.dumps),
    st.text(max_size=4),
    st.sampled_from(["[" * 5000, "[0, 0]", '{"a": 1, "a": 1}', "NaN", "[1e400]", "9" * 5000, "-0"]),
)
mutations = st.one_of(
    st.builds(flipped, files, st.lists(st.tuples(places, st.integers(0, 7)), min_size=1)),
    st.builds(cut, files, places, st.booleans()),
    st.builds(spliced, files, places, st.none() | files, places),
    # Most of what is behind the container is reached by these.
    *[st.builds(overwritten, files, places, places, st.binary(min_size=1, max_size=8))] * 4,
    st.builds(misstated, files, st.sampled_from(columns), places, values),
    st.builds(
        reworded,
        files,
        st.sampled_from(keys),
        st.sampled_from(["", "", "twice", "missing", "more"]),
        texts,
    ),
    st.builds(described, files, places, st.sampled_from(["dtype", "shape", "more"]), values),
    st.builds(resized, files, places, sizes, places, numbers),
    st.builds(grown, files, places, st.binary(min_size=1, max_size=4)),
    st.builds(renamed, files, places, places, st.sampled_from(["swapped", "missing", "9", "x"])),
)


@contextmanager
def little_memory():
    """From here on, the process may take 1 GiB more than it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    old = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 2**30, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, old)


@contextmanager
def little_time():
    """What runs here may take 5 s of CPU time, however busy the machine is."""

    def hang(*_):
        raise TimeoutError("reading must end")

    old = signal.signal(signal.SIGPROF, hang)
    signal.setitimer(signal.ITIMER_PROF, 5)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, old)


def read(data):
    """What becomes of ``data``: "whole", or the kind of refusal."""
    try:
        with little_time():
            network = from_bytes(data)
    except ImageError as error:
        message = re.sub(r" JSON: .*|, not .*|codec .*", "", str(error))
        return re.sub(r"'.*'|[0-9a-f]{64}|\d+", "_", message)
    assert content(from_bytes(to_bytes(network))) == content(network)
    return "whole"


def test_fuzz():
    outcomes = Counter()
    forged = Counter()

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(mutations)
    def mutate(data):
        outcome = read(data)
        outcomes[outcome] += 1
        if outcome.startswith("the image is damaged"):
            # All else is right. With the digest that belongs to it, this is an image.
            network, stated = image._read(data)
            repaired = data.replace(stated.encode(), digest(network).encode(), 1)
            forged[read(repaired) if len(repaired) == len(data) else "other digest"] += 1

    with little_memory():
        mutate()
    # The mutations reach everything: most refusals there are, the digest, and whole images.
    assert outcomes.total() >= EXAMPLES
    assert len(outcomes) > 60
    assert outcomes["whole"] > 10
    assert forged["whole"] > 200
    assert forged["whole"] + forged["other digest"] == forged.total()
