"""Verbs on a network through feature maps; all on one small device."""

import json

import numpy as np
import pytest

from golden.image import save
from golden.layers import (
    AveragePooling,
    Concatenation,
    Convolution,
    FullyConnected,
    MaxPooling,
    Network,
)
from golden.network import run as golden_run
from hdl.configuration import PRESETS
from mapping import plan

torch = pytest.importorskip("torch")

SAME = {"output_radix": 4, "activation": "none"}


def weights(rng, outputs, inputs):
    codes = rng.integers(1, 8, (outputs, inputs), np.uint8)
    codes[rng.random(codes.shape) < 0.5] = 0
    return {
        "matrix": codes,
        "codebook": np.r_[0, rng.integers(-99, 99, 7)].astype(np.int16),
        "code_width": 3,
        "weight_radix": 6,
        "bias": rng.integers(-300, 300, outputs, dtype=np.int32),
        "output_radix": 4,
        "activation": "relu",
    }


@pytest.fixture(scope="module")
def network():
    rng = np.random.default_rng(1)
    halves = SAME | {"kernel": (2, 2), "stride": (2, 2)}
    return Network(
        "maps",
        (
            Convolution.from_matrix(
                "conv1", **weights(rng, 9, 9), kernel=(3, 3), padding=(1, 1, 1, 1)
            ),
            MaxPooling(name="max", **halves),
            AveragePooling(name="mean", **halves, weight_radix=2),
            Concatenation(name="cat", **SAME),
            Convolution.from_matrix("conv2", **weights(rng, 6, 18), kernel=(1, 1)),
            FullyConnected.from_matrix("fc", **weights(rng, 5, 54)),
        ),
        16,
        4,
        input_shape=(6, 6, 1),
        sources=((0,), (1,), (1,), (2, 3), (4,), (5,)),
    )


@pytest.fixture(scope="module")
def image(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("image") / "maps.prunus"
    save(network, path)
    return path


LAYERS = ["conv1", "max", "mean", "conv2", "fc"]


def test_simulate(run, image, network, tmp_path):
    vectors = np.random.default_rng(1).integers(-999, 999, (4, 36))
    x, y = tmp_path / "x.npy", tmp_path / "y.npy"
    np.save(x, vectors)
    arguments = "simulate", image, "--device", "cnn16", "--input", x
    document = json.loads(run(*arguments, "-o", y, "--json").stdout)
    expected = golden_run(network, torch.from_numpy(vectors))[-1][1].numpy()
    assert np.array_equal(np.load(y), expected)
    assert document["equals_golden"] is True
    # What is joined takes no time: its parts are written to their places.
    assert [layer["name"] for layer in document["layers"]] == LAYERS
    engines = [layer["engine"] for layer in document["layers"]]
    assert engines == ["sparse", "fold", "fold", "sparse", "sparse"]
    for layer in document["layers"]:
        assert layer["predicted_cycles"] <= layer["cycles"] <= layer["predicted_cycles"] + 10
        assert (layer["macs"] == 0) == (layer["engine"] == "fold")
    busy = sum(document["elements"]["busy"])
    assert busy == pytest.approx(4 * document["total"]["macs"])
    assert "equal to the golden model's, bit by bit" in run(*arguments).stdout


def test_compare(run, image):
    document = json.loads(run("compare", image, "--device", "cnn16", "--json").stdout)
    assert document["equal"] is True
    (comparison,) = document["comparisons"]
    assert [layer["name"] for layer in comparison["layers"]] == LAYERS
    assert [layer["compared"] for layer in comparison["layers"]] == [
        16 * n for n in (6 * 6 * 9, 3 * 3 * 9, 3 * 3 * 9, 3 * 3 * 6, 5)
    ]


@pytest.mark.parametrize("layer", ["conv1", "conv2", "fc"])
def test_negative_control(run, image, network, layer):
    arguments = "compare", image, "--device", "cnn16", "--flip", layer, "--json"
    result = run(*arguments, code=1)
    found = json.loads(result.stdout)["first_difference"]
    assert found["layer"] == layer
    assert found["values"]["golden"] != found["values"]["rtl"]
    where = f"row {found['row']} "
    if layer == "fc":
        assert found["pixel"] is None
    else:
        row, column = found["pixel"]
        where = f"pixel {row}, {column}, channel {found['row']} "
    message = f"first difference in layer {layer!r}, vector {found['vector']}, {where}"
    assert message in result.stderr
    laid = plan(network, PRESETS["cnn16"])
    place = [one.name for one in laid.layers].index(layer)
    elements, _, row = laid.layers[place].owners(found["row"])
    assert (found["elements"], found["element_row"]) == (elements, row)


def test_only_layers_with_weights_can_be_flipped(run, image):
    stderr = run("compare", image, "--device", "cnn16", "--flip", "max", code=2).stderr
    assert "--flip must be one of conv1, conv2, fc, not 'max'" in stderr


def test_explain(run, image):
    document = json.loads(run("explain", image, "--device", "cnn16", "--json").stdout)
    assert [layer["name"] for layer in document["layers"]] == ["conv1", "conv2", "fc"]
    assert [fold["name"] for fold in document["folds"]] == ["max", "mean"]
    memories = {memory["parameter"]: memory["used"] for memory in document["memories"]}
    # The input, six stages, of which one is no layer; words of the first map and the input.
    assert memories["stage_depth"] == 6
    assert memories["map_depth"] >= 36 * 2
    shown = [*document["layers"], *document["folds"]]
    total = sum(layer["predicted_cycles"] for layer in shown)
    assert document["total"]["predicted_cycles"] == pytest.approx(total)
    text = run("explain", image, "--device", "cnn16").stdout
    assert "words of feature maps" in text
    assert "mean" in text


def test_layers_without_weights_only(run, tmp_path):
    path = tmp_path / "x.prunus"
    pool = MaxPooling(name="max", **SAME, kernel=(2, 2), stride=(1, 1))
    save(Network("pool", (pool,), 16, 4, input_shape=(3, 3, 2)), path)
    document = json.loads(run("simulate", path, "--device", "cnn16", "--json").stdout)
    (layer,) = document["layers"]
    assert layer["cycles"] == layer["predicted_cycles"] > 0
    assert not any(document["elements"]["busy"])
    document = json.loads(run("explain", path, "--device", "cnn16", "--json").stdout)
    assert document["layers"] == []
    assert "max" in run("explain", path, "--device", "cnn16").stdout


def test_device_without_maps(run, image):
    """The default device has none; the message says which layers need them, and of what."""
    for verb in "simulate", "compare", "explain":
        stderr = run(verb, image, code=4).stderr
        assert (
            "network 'maps' has layers that take a device with feature maps (map_depth): "
            "'conv1' (convolution), 'max' (max), 'mean' (average), 'cat' (concatenate), "
            "'conv2' (convolution)\n"
        ) in stderr
        assert stderr.endswith("it fits cnn16, cnn64, cnn64-f2\n")
