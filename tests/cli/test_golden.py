import dataclasses
import json
import sys

import numpy as np
import torch

from golden.image import save
from golden.network import run as golden_run
from tests.golden.strategies import small_graph
from tests.limits import full_disk


def expected(network, vectors):
    return golden_run(network, torch.from_numpy(vectors.astype(np.int64)))


def test_outputs_and_intermediates(run, image, network, tmp_path):
    vectors = np.random.default_rng(1).integers(-999, 999, (7, 24))
    np.save(tmp_path / "x.npy", vectors)
    y, layers = tmp_path / "y.npy", tmp_path / "layers.npz"
    result = run(
        "golden", image, "--input", tmp_path / "x.npy", "-o", y, "--layers", layers, "--json"
    )
    results = expected(network, vectors)
    assert np.array_equal(np.load(y), results[-1][1].numpy())
    with np.load(layers) as found:
        assert np.array_equal(found["inputs"], vectors)
        for layer, (sums, outputs) in zip(network.layers, results, strict=True):
            assert np.array_equal(found[f"{layer.name}.accumulators"], sums.numpy())
            assert np.array_equal(found[f"{layer.name}.outputs"], outputs.numpy())
    document = json.loads(result.stdout)
    assert document["inputs"]["vectors"] == 7
    assert document["classes"] == results[-1][1].argmax(dim=1).tolist()
    assert document["accuracy"] is None
    assert document["output"] == str(y)


def test_graph(run, tmp_path):
    """Activations of feature maps are written in their shapes."""
    network = small_graph()
    path, x, y, layers = (tmp_path / name for name in ("a.prunus", "x.npy", "y.npy", "z.npz"))
    save(network, path)
    vectors = np.random.default_rng(1).integers(-128, 128, (5, 32))
    np.save(x, vectors)
    run("golden", path, "--input", x, "-o", y)
    results = expected(network, vectors)
    assert np.array_equal(np.load(y), results[-1][1].numpy())
    run("golden", path, "--input", x, "--layers", layers)
    with np.load(layers) as found:
        for index, (sums, outputs) in enumerate(results):
            name, shape = network.layers[index].name, (5, *network.shapes[index + 1])
            assert np.array_equal(found[f"{name}.accumulators"], sums.numpy().reshape(shape))
            assert np.array_equal(found[f"{name}.outputs"], outputs.numpy().reshape(shape))


def test_more_vectors_than_are_run_at_a_time(run, image, network, tmp_path):
    vectors = np.random.default_rng(1).integers(-999, 999, (2001, 24))
    np.save(tmp_path / "x.npy", vectors)
    run("golden", image, "--input", tmp_path / "x.npy", "-o", tmp_path / "y.npy")
    assert np.array_equal(np.load(tmp_path / "y.npy"), expected(network, vectors)[-1][1].numpy())


def test_text(run, image):
    text = run("golden", image, "--random", 3).stdout
    assert text.startswith("3 vectors: random vectors, density 0.3, seed 1\n")
    assert "First answers" in text


def known(network, tmp_path, change=0):
    vectors = np.arange(72, dtype=np.int16).reshape(3, 24)
    answers = expected(network, vectors)[-1][1].numpy().astype(np.int16)
    answers[1, 2] += change
    path = tmp_path / "known.prunus"
    save(dataclasses.replace(network, known_inputs=vectors, known_outputs=answers), path)
    return path, answers


def test_known_answers(run, network, tmp_path):
    path, _ = known(network, tmp_path)
    assert "all known answers are right" in run("golden", path).stdout
    assert json.loads(run("golden", path, "--json").stdout)["known_answers_checked"] == 3


def test_wrong_known_answer(run, network, tmp_path):
    path, answers = known(network, tmp_path, change=1)
    wrong = answers[1, 2]
    message = f"known answer 1, output 2: the image says {wrong}, the golden model {wrong - 1}"
    assert message in run("golden", path, code=1).stderr


def test_torch_is_missing(run, image, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    stderr = run("golden", image, code=3).stderr
    assert stderr == "prunus: torch is missing; to install it: pip install 'prunus[train]'\n"


def test_target_is_checked_first(run, image, tmp_path):
    stderr = run("golden", image, "-o", tmp_path / "none" / "y.npy", code=2).stderr
    assert "No such file or directory, but the file is to be in it" in stderr


def test_both_files_or_none(run, image, tmp_path):
    targets = "-o", tmp_path / "y.npy", "--layers", tmp_path / "layers.npz"
    with full_disk(1000):
        stderr = run("golden", image, "--random", 30, *targets, code=2).stderr
    assert stderr.endswith("layers.npz: the file would be larger than is allowed\n")
    assert list(tmp_path.iterdir()) == []


def test_targets_are_files_of_their_own(run, image, tmp_path):
    before = image.read_bytes()
    for option in "-o", "--layers":
        assert "it is an input as well" in run("golden", image, option, image, code=2).stderr
    assert image.read_bytes() == before
    y = tmp_path / "y"
    assert "it is another output" in run("golden", image, "-o", y, "--layers", y, code=2).stderr
