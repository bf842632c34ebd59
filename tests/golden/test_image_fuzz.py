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
from golden.nets.random import random_network
from tests.golden.strategies import content

EXAMPLES = 10_000


def images():
    """Small images of every kind: narrow and wide, empty and dense, with known answers or not."""
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
    return files


FILES = images()

numbers = st.one_of(
    st.integers(-2, 70),
    st.sampled_from([127, 128, 255, 256, 2**16, 2**20, 2**20 + 1, 2**24, 2**24 + 1, 2**25]),
    st.sampled_from([-(2**31), 2**31, 2**32, 2**40, 2**63, 2**64, 10**30]),
)
scalars = st.one_of(
    numbers, st.none(), st.booleans(), st.floats(), st.text(max_size=3), st.just("relu")
)
values = st.recursive(scalars, lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(), x))


def parts(data):
    size = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def join(header, tensors):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + tensors


@st.composite
def flipped(draw, data):
    """Some bits are others."""
    changed = bytearray(data)
    for bit in draw(st.lists(st.integers(0, 8 * len(data) - 1), min_size=1, max_size=6)):
        changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@st.composite
def cut(draw, data):
    """The end is missing, or there is more behind it."""
    end = draw(st.integers(0, len(data)))
    return data[:end] if draw(st.booleans()) else data + data[end:]


@st.composite
def spliced(draw, data):
    """The start is of one file and the end of another, or of the same one."""
    other = draw(st.sampled_from([*FILES, data, data]))
    return data[: draw(st.integers(0, len(data)))] + other[draw(st.integers(0, len(other))) :]


@st.composite
def overwritten(draw, data):
    """Some bytes of the tensors are others."""
    header, tensors = parts(data)
    start = draw(st.integers(0, len(tensors) - 1))
    new = draw(st.binary(min_size=1, max_size=8))
    return join(header, tensors[:start] + new + tensors[start + len(new) :])


@st.composite
def other_metadata(draw, data):
    """The header is JSON, of which one string says something else."""
    header, tensors = parts(data)
    metadata = header["__metadata__"]
    key = draw(st.sampled_from(sorted(metadata.keys() - {"digest"})))
    old = metadata[key]
    if old.startswith("[") and draw(st.integers(0, 3)):
        column = json.loads(old)
        column[draw(st.integers(0, len(column) - 1))] = draw(st.one_of(numbers, scalars))
        new = json.dumps(column)
    else:
        new = draw(st.one_of(values.map(json.dumps), st.text(max_size=4), st.just("[" * 5000)))
    action = draw(st.sampled_from(["replace"] * 6 + ["remove", "add", "twice"]))
    if action == "replace":
        metadata[key] = new
    elif action == "remove":
        del metadata[key]
    elif action == "add":
        metadata[draw(st.text(max_size=4))] = new
    else:
        text = json.dumps(header).encode()
        pair = f"{json.dumps(key)}: {json.dumps(old)}".encode()
        return join(text.replace(pair, pair + b", " + pair), tensors)
    return join(header, tensors)


@st.composite
def other_tensors(draw, data):
    """The header is JSON, of which one tensor is described otherwise."""
    header, tensors = parts(data)
    name, second = (draw(st.sampled_from(sorted(header.keys() - {"__metadata__"}))) for _ in "ab")
    entry = header[name]
    action = draw(st.sampled_from(["field", "number", "longer", "remove", "copy", "swap", "any"]))
    if action == "field":
        entry[draw(st.sampled_from(sorted(entry)))] = draw(values)
    elif action == "number":
        field = entry[draw(st.sampled_from(["shape", "data_offsets"]))]
        field[draw(st.integers(0, len(field) - 1))] = draw(numbers)
    elif action == "longer":
        # More bytes for one tensor, all else moved up: the container is whole.
        start, stop = entry["data_offsets"]
        more = draw(st.binary(min_size=1, max_size=4))
        if entry["dtype"] == "U8":
            tensors = tensors[:stop] + more + tensors[stop:]
            entry["shape"][0] += len(more)
            for other in header.keys() - {"__metadata__"}:
                place = header[other]["data_offsets"]
                shift = [len(more) * (place[0] > start), len(more) * (place[0] >= start)]
                header[other]["data_offsets"] = [x + y for x, y in zip(place, shift, strict=True)]
    elif action == "remove":
        del header[name]
    elif action == "copy":
        header[draw(st.one_of(st.just(f"9{name}"), st.text(max_size=3)))] = dict(entry)
    elif action == "swap":
        header[name], header[second] = header[second], header[name]
    else:
        header[name] = draw(values)
    return join(header, tensors)


mutations = st.one_of(
    st.sampled_from(FILES).flatmap(mutate)
    for mutate in (flipped, cut, spliced, overwritten, other_metadata, other_tensors)
)


@contextmanager
def little_memory_and_time():
    """From here on, the process may take 1 GiB more, and two minutes."""

    def hang(*_):
        raise TimeoutError("reading must end")

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 2**30, limits[1]))
    old = signal.signal(signal.SIGALRM, hang)
    signal.alarm(120)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)
        resource.setrlimit(resource.RLIMIT_AS, limits)


def read(data):
    """What becomes of ``data``: "whole", or the kind of refusal."""
    try:
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
        deadline=2000,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(mutations)
    def mutate(data):
        outcome = read(data)
        outcomes[outcome] += 1
        if outcome.startswith("digest"):
            # All else is right. With the digest that belongs to it, this is an image.
            network, stated = image._read(data)
            repaired = data.replace(stated.encode(), digest(network).encode(), 1)
            forged[read(repaired) if len(repaired) == len(data) else "other digest"] += 1

    with little_memory_and_time():
        mutate()
    # The mutations reach everything: most refusals there are, the digest, and whole images.
    assert outcomes.total() >= EXAMPLES
    assert len(outcomes) > 60
    assert outcomes["whole"] > 10
    assert forged["whole"] > 200
    assert forged["whole"] + forged["other digest"] == forged.total()
