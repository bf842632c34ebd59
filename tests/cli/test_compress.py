import json

import pytest
import torch
from safetensors.torch import save_file

from golden.image import digest, ledger, load
from golden.nets.chain import chain
from golden.recipes import bundled_recipes
from tests.golden.importers.test_han import made_up, parts_of


def test_lists_the_recipes(run):
    text = run("compress", "--help").stdout
    stderr = run("compress", "nothing", code=2).stderr
    for name in bundled_recipes():
        assert name in " ".join(text.split())
        assert name in stderr


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "weights.safetensors"
    save_file(chain((64, 12, 10)).state_dict(), path)
    return path


def test_trains_and_writes(run, recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run("compress", "tiny.toml", "--json")
    document = json.loads(result.stdout)
    assert [stage["name"] for stage in document["stages"]] == [
        "train",
        "prune",
        "share",
        "fine-tune",
        "image",
    ]
    assert result.stderr.count("\n") == 5
    assert document["image"] == "tiny.prunus"
    network = load("tiny.prunus")
    assert document["digest"] == digest(network)
    assert document["ledger"]["total"] == document["bytes"] == ledger(network).total
    assert document["stages"][0]["before"]["bytes"] == 4 * (12 * 65 + 10 * 13)
    assert 0.5 < document["accuracy"] <= 1
    assert (tmp_path / "tiny.work").is_dir()

    # All of it is there already, so this one only tells.
    text = run("compress", "tiny.toml").stdout
    assert "Stages of tiny on digits" in text
    assert "wrote tiny.prunus" in text


def test_weights_of_ones_own(run, recipe, weights, tmp_path):
    target = tmp_path / "x.prunus"
    options = "--weights", weights, "-o", target, "--work", tmp_path / "w"
    document = json.loads(run("compress", recipe, *options, "--json").stdout)
    assert document["stages"][0]["name"] == "prune"
    assert "\ngiven " in run("compress", recipe, *options).stdout
    assert target.exists()


def test_wrong_recipe(run, recipe):
    recipe.write_text(recipe.read_text().replace("epochs = 20", "epochs = -1\nepoch = 3"))
    stderr = run("compress", recipe, code=2).stderr
    assert "2 faults" in stderr
    assert "train.epoch is unknown" in stderr
    assert "train.epochs must be an integer" in stderr


def test_wrong_weights(run, recipe, tmp_path):
    wrong = tmp_path / "weights.safetensors"
    wrong.write_bytes(b"")
    stderr = run("compress", recipe, "--weights", wrong, "-o", tmp_path / "x", code=2).stderr
    assert "weights.safetensors is no safetensors file" in stderr
    stderr = run("compress", recipe, "--weights", "none", "-o", tmp_path / "x", code=2).stderr
    assert stderr == "prunus: none: No such file or directory\n"


def test_published(run, tmp_path, monkeypatch):
    """All but the photographs, of which a random one is as good here."""
    source, target = tmp_path / "made.net", tmp_path / "made.prunus"
    source.write_bytes(b"".join(parts_of(made_up())))
    photographs = "golden.nets.photographs.photographs"
    monkeypatch.setattr(photographs, lambda names, side: torch.randn(1, 3, side, side) * 50)
    options = "-o", target, "--activations", "8"
    document = json.loads(run("compress", source, *options, "--json").stdout)
    network = load(target)
    assert document["digest"] == digest(network)
    assert network.activation_width == document["activation_width"] == 8
    assert network.input_shape == (227, 227, 3)
    assert document["bytes"] == document["ledger"]["total"] == target.stat().st_size
    assert document["published_bytes"] == source.stat().st_size
    assert document["dense_bytes"] == 4 * 1_248_424


def test_published_wrong(run, tmp_path, recipe):
    source = tmp_path / "made.net"
    source.write_bytes(bytes(10))
    stderr = run("compress", source, "-o", tmp_path / "x", code=2).stderr
    assert "the counts of entries must have 104 bytes, but the file ends after 10" in stderr
    assert "is an input as well" in run("compress", source, "-o", source, code=2).stderr
    for options in (["--work", "x"], ["--no-resume"], ["--weights", "x"]):
        stderr = run("compress", source, *options, code=2).stderr
        assert f"{options[0]} goes with a recipe, not with a .net" in stderr
    stderr = run("compress", recipe, "--activations", "8", code=2).stderr
    assert "--activations goes with a .net; a recipe has activation_width" in stderr


def test_target_is_checked_before_training(run, recipe, tmp_path):
    stderr = run("compress", recipe, "-o", tmp_path / "none" / "x.prunus", code=2).stderr
    assert "No such file or directory, but the image is to be in it" in stderr
    assert not (tmp_path / "none").exists()


def test_target_is_no_file_that_is_read_nor_in_the_work(run, recipe, tmp_path):
    text = recipe.read_text()
    assert "is an input as well" in run("compress", recipe, "-o", recipe, code=2).stderr
    assert recipe.read_text() == text
    work = tmp_path / "x"
    options = "--work", work, "-o"
    assert "must not be in" in run("compress", recipe, *options, work, code=2).stderr
    work.mkdir()
    assert "must not be in" in run("compress", recipe, *options, work / "y", code=2).stderr
