"""What the pages say can be done can be done."""

import dataclasses
import doctest
import re
from pathlib import Path

import numpy as np
import pytest

from cli.main import VERBS
from docs.tiny import DEVICE, network
from golden.compress.recipe import parse_recipe
from golden.image import FullyConnected, Network
from hdl.configuration import PRESETS, Configuration
from hdl.sequencer import Sequencer
from hdl.sparse.counts import Counts
from hdl.sparse.decode import Decode
from hdl.sparse.drain import Drain
from hdl.sparse.engine import Engine
from hdl.sparse.fetch import Fetch
from hdl.sparse.scan import Scan
from hdl.streams import Queue, VectorQueue
from mapping import plan
from mapping.cycles import predict

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@pages
def test_examples(page):
    failed, _ = doctest.testfile(str(page), module_relative=False, encoding="utf-8")
    assert not failed


def anchors(page):
    """Names that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pages
def test_links(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file), target


def blocks(page, language):
    """What stands between fences."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


@pages
def test_commands_and_files(page):
    text = page.read_text()
    fenced = blocks(page, r"\w*")
    rest = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    code = "\n".join(fenced + re.findall(r"`([^`]+)`", rest))
    for verb in re.findall(r"\bprunus +([a-z]+)\b", code):
        assert verb in VERBS, verb
    for module in re.findall(r"\bpython -m ((?:docs|bench)[\w.]*)", code):
        assert (ROOT / f"{module.replace('.', '/')}.py").exists(), module
    for name in re.findall(r"\b(?:hdl|golden|mapping|sim|cli|tests|docs)/[\w/]+\.\w+", code):
        assert (ROOT / name).exists(), name


def test_recipe():
    (text,) = blocks(ROOT / "README.md", "toml")
    recipe = parse_recipe(text)
    assert recipe.name == "own"
    # It also has to do without --weights.
    assert recipe.train.epochs > 0


def test_verbs_of_the_readme():
    text = (ROOT / "README.md").read_text()
    assert re.findall(r"^\| `prunus (\w+)` \|", text, re.MULTILINE) == list(VERBS)


FIRST_CHANGE = ROOT / "docs" / "first-change.md"


@pytest.mark.parametrize("diff", blocks(FIRST_CHANGE, "diff"))
def test_changes_apply(diff):
    """What a change takes away, and what stands around it, is there."""
    before = "".join(line[1:] + "\n" for line in diff.splitlines() if line[0] in " -")
    sources = [path for name in ("hdl", "mapping", "sim") for path in (ROOT / name).rglob("*.py")]
    assert sum(before in path.read_text() for path in sources) == 1


def test_simulation(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (code,) = blocks(FIRST_CHANGE, "py")
    exec(compile(code, "first-change.md", "exec"), {})
    assert (tmp_path / "waves.vcd").stat().st_size


def test_cycles_of_a_layer():
    """The sums in the table of ``docs/engine.md``."""
    one = dataclasses.replace(PRESETS["pe16"], ways=1)
    first = Scan.LATENCY + Counts.LATENCY + Queue.latency(one.queue_depth)
    first += Fetch.LATENCY + Decode.LATENCY + Decode.END_LATENCY - 1
    first += Engine.DONE_LATENCY + Sequencer.END_LATENCY
    later = first + Drain.LATENCY + VectorQueue.LATENCY - 1
    assert (first, later) == (14, 24)
    # An identity matrix, so a weight in each step.
    layers = tuple(_identity(f"fc{n}", 16) for n in range(3))
    network = Network("chain", layers, 16, 0)
    ones = [np.ones((1, 16), int)] * 3
    cycles = predict(plan(network, one), ones).cycles[0]
    assert cycles.tolist() == [16 + first, 16 + later, 16 + later]
    # Split over two ways, there are half the steps. The second way gets its first block a cycle
    # after the first way, and dealing blocks out takes a cycle.
    more = Queue.latency(Engine.BLOCKS) + 1
    cycles = predict(plan(network, PRESETS["pe16"]), ones).cycles[0]
    assert cycles.tolist() == [8 + first + more, 8 + later + more, 8 + later + more]


@pytest.mark.parametrize(("before", "cycles"), [(1, 2), (2, 1)])
def test_what_an_escape_costs(before, cycles):
    """Each column has an escape and a weight; the first one decides where they start."""
    device = Configuration(elements=1, scan_width=1, entry_width=6, code_width=4, row_depth=16)
    matrix = np.zeros((16, 201), np.uint8)
    matrix[:before, 0] = 1
    matrix[15, 1:] = 1
    laid = plan(Network("escapes", (_layer("fc", matrix, code_width=4),), 16, 0), device)
    assert laid.layers[0].padding == 200
    predicted = predict(laid, [np.ones((1, 201), int)])
    # The last weight has been waited for by its escape if it comes in another word.
    assert predicted.cycles[0, 0] == before + 200 * cycles + 14 - (cycles == 2)
    assert predicted.padding.sum() == 0


def _identity(name, size):
    return _layer(name, np.eye(size, dtype=np.uint8), code_width=2)


def _layer(name, matrix, code_width):
    return FullyConnected.from_matrix(
        name,
        matrix,
        codebook=np.arange(2**code_width, dtype=np.int16),
        code_width=code_width,
        weight_radix=0,
        bias=np.zeros(len(matrix), np.int32),
        output_radix=0,
        activation="none",
    )


def test_example_by_hand():
    """The tables of ``docs/engine.md`` about element 0."""
    layer = plan(network(), DEVICE).layers[0]
    mine = layer.outputs % 2 == 0
    rows = np.zeros((6, 8), int)
    rows[layer.outputs[mine] // 2] = layer.layer.dense()[mine]
    text = (ROOT / "docs" / "engine.md").read_text()
    for row, weights in enumerate(rows):
        cells = "".join(f"{'.' if weight == 0 else weight:>3}" for weight in weights)
        assert f"    row {row}         {cells}\n" in text
    assert layer.entries.counts[0].tolist() == [2, 1, 3, 2, 1, 0, 2, 1]
    pairs = [(int(entry) >> 2, int(entry) & 3) for entry in layer.entries.values[:8]]
    assert pairs == [(1, 1), (3, 3), (2, 1), (2, 0), (1, 0), (3, 2), (0, 0), (1, 0)]
