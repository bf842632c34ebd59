import dataclasses
import json

import numpy as np
import pytest
import torch

from golden.compress import pipeline
from golden.compress.model import accuracy, image_accuracy
from golden.compress.pipeline import compress
from golden.compress.recipe import parse_recipe
from golden.errors import DataError, FitError, RecipeError
from golden.image import digest, load
from golden.layers import Weighted
from golden.nets.chain import chain
from golden.nets.data import Dataset, load_dataset

RECIPE = parse_recipe("""
name = "small"
dataset = "digits"
seed = 3
[network]
layers = [64, 24, 10]
[train]
epochs = 3
batch = 20
learning_rate = 0.01
weight_decay = 0.01
shift = 1
validation = 20
[prune]
densities = [0.2, 0.5]
steps = 2
step_epochs = 2
epochs = 1
learning_rate = 0.01
[share]
bits = [4, 3]
epochs = 3
learning_rate = 0.001
[image]
calibration_samples = 100
""")
CONVOLUTIONS = dataclasses.replace(
    RECIPE,
    train=dataclasses.replace(RECIPE.train, shift=0),
    network=dataclasses.replace(
        RECIPE.network, layers=("8x8", "conv 3x3 4 same", "max 2x2", "conv 2x2 6", 10)
    ),
    prune=dataclasses.replace(RECIPE.prune, densities=(0.5, 0.25, 0.4)),
    share=dataclasses.replace(RECIPE.share, bits=(3, 4, 3)),
)
EPOCHS = {"train": 3, "prune": 5, "share": 0, "fine-tune": 3, "image": 0}


@pytest.fixture(scope="module")
def dataset():
    digits = load_dataset("digits")
    return dataclasses.replace(digits, train_x=digits.train_x[:300], train_y=digits.train_y[:300])


@pytest.fixture(scope="module")
def uninterrupted(dataset, tmp_path_factory):
    events = []
    result = compress(
        RECIPE, tmp_path_factory.mktemp("work"), dataset=dataset, report=events.append
    )
    return result, events


def replaced(section, **values):
    return dataclasses.replace(
        RECIPE, **{section: dataclasses.replace(getattr(RECIPE, section), **values)}
    )


def test_stages(uninterrupted, dataset):
    result, _ = uninterrupted
    assert [stage.name for stage in result.stages] == list(EPOCHS)
    for stage, following in zip(result.stages, result.stages[1:], strict=False):
        assert stage.after == following.before
    sizes = [stage.after.bytes for stage in result.stages]
    assert sizes[0] == 4 * (64 * 24 + 24 + 24 * 10 + 10)
    assert sizes[0] > sizes[1] > sizes[2] == sizes[3]
    assert sizes[4] == result.path.stat().st_size

    last = result.stages[-1].after
    assert last.accuracy == image_accuracy(result.network, dataset.test_x, dataset.test_y)
    assert result.reference_accuracy == result.stages[0].after.accuracy
    assert result.reference_accuracy == accuracy(result.reference, dataset.test_x, dataset.test_y)
    assert result.stages[0].before.accuracy < 0.3 < result.reference_accuracy


def test_densities_are_reached_exactly(uninterrupted):
    result, _ = uninterrupted
    assert [layer.nonzeros for layer in result.network.layers] == [
        round(0.2 * 64 * 24),
        round(0.5 * 240),
    ]
    nonzeros = sum(layer.nonzeros for layer in result.network.layers)
    assert result.stages[1].after.density == nonzeros / (64 * 24 + 240)
    assert [layer.code_width for layer in result.network.layers] == [4, 3]
    assert [layer.bias.shape for layer in result.network.layers] == [(24,), (10,)]


def counts_by_column(layer, parts):
    """Weights in each column of rows 0, parts, 2 parts, ..., then 1, parts + 1, ..."""
    return np.array([(layer.dense()[one::parts] != 0).sum(axis=0) for one in range(parts)])


def pruned_densities(events):
    """After each epoch of pruning."""
    return [one.density for one in events if (one.stage, one.kind) == ("prune", "advance")]


def test_balanced(dataset, tmp_path):
    recipe = replaced("prune", pattern="balanced", elements=8)
    events = []
    result = compress(recipe, tmp_path, dataset=dataset, report=events.append)
    # Ten rows are one for each element, and a second one for two of them, which nothing is left of.
    for layer, density in zip(result.network.layers, recipe.prune.densities, strict=True):
        counts = counts_by_column(layer, 8)
        assert (counts == counts[0]).all()
        assert layer.nonzeros == 8 * round(density * np.prod(layer.shape) / 8)
    first, _, last, _, _ = pruned_densities(events)
    assert first == pytest.approx((0.3 * 1536 + 0.5625 * 240) / 1776, abs=5e-3)
    assert last == pytest.approx((0.2 * 1536 + 0.5 * 240) / 1776, abs=5e-3)


def test_n_of_m(dataset, tmp_path):
    recipe = replaced("prune", pattern=("2:8", "2:4"), densities=None)
    events = []
    result = compress(recipe, tmp_path, dataset=dataset, report=events.append)
    first, last = (layer.dense() != 0 for layer in result.network.layers)
    assert (first.reshape(3, 8, 64).sum(axis=1) == 2).all()
    assert (last[:8].reshape(2, 4, 24).sum(axis=1) == 2).all()
    assert (last[8:].sum(axis=0) == 1).all()
    # At 1/8 of the way: 2.75 of 8 and 2.25 of 4, so 3 of 8 and 2 of 4.
    before, _, after, _, _ = pruned_densities(events)
    assert before == (3 / 8 * 1536 + 1 / 2 * 240) / 1776
    assert after == (2 / 8 * 1536 + 1 / 2 * 240) / 1776


@pytest.fixture(scope="module")
def convolutions(dataset, tmp_path_factory):
    return compress(CONVOLUTIONS, tmp_path_factory.mktemp("work"), dataset=dataset)


def test_convolutions(convolutions, dataset):
    layers = convolutions.network.layers
    assert [layer.name for layer in layers] == ["conv1", "max_pool2d", "conv2", "fc1"]
    assert convolutions.network.input_shape == (8, 8, 1)
    weighted = [layer for layer in layers if isinstance(layer, Weighted)]
    assert [layer.nonzeros for layer in weighted] == [18, 24, round(0.4 * 540)]
    assert [layer.code_width for layer in weighted] == [3, 4, 3]
    first = convolutions.model.module.conv1.weight.detach().movedim(1, 3).flatten(1)
    step = 2.0 ** -weighted[0].weight_radix
    torch.testing.assert_close(
        torch.from_numpy(weighted[0].dense()) * step, first, atol=step / 2, rtol=0
    )

    sizes = [stage.after.bytes for stage in convolutions.stages]
    assert sizes[0] == 4 * (36 + 4 + 96 + 6 + 540 + 10)
    assert sizes[0] > sizes[1] > sizes[2] == sizes[3]
    shared, image = (stage.after.accuracy for stage in convolutions.stages[-2:])
    assert 0.4 < shared
    assert abs(shared - image) <= 0.005
    assert image == image_accuracy(convolutions.network, dataset.test_x, dataset.test_y)


def test_interrupted_convolutions(convolutions, dataset, tmp_path):
    """The state of the optimiser lies in memory as the weights do: so the bits stay the same."""
    interrupt = Interrupt(at=range(3, 200, 7))
    resumed = run_to_the_end(tmp_path, dataset, interrupt, recipe=CONVOLUTIONS)
    assert interrupt.count > 30
    assert resumed.path.read_bytes() == convolutions.path.read_bytes()


def test_balanced_convolutions(dataset, tmp_path):
    """Columns are what the engine takes at a time: a channel at a place of the kernel."""
    prune = dataclasses.replace(CONVOLUTIONS.prune, pattern="balanced", elements=2)
    recipe = dataclasses.replace(CONVOLUTIONS, prune=prune)
    result = compress(recipe, tmp_path, dataset=dataset)
    for layer in result.network.layers:
        if isinstance(layer, Weighted):
            counts = counts_by_column(layer, 2)
            assert (counts[0] == counts[1]).all()
            assert 0 < layer.nonzeros < layer.dense().size


def test_the_image_is_the_shared_model(uninterrupted):
    result, _ = uninterrupted
    for layer, weights in zip(result.network.layers, result.model.weights, strict=True):
        weights = weights.detach()
        step = 2.0**-layer.weight_radix
        torch.testing.assert_close(
            torch.from_numpy(layer.dense()) * step, weights, atol=step / 2, rtol=0
        )
        assert layer.accumulator_bits(16) <= RECIPE.image.accumulator_width
    # Sixteen bits are as good as floats, but for a tie or two.
    shared, image = (stage.after.accuracy for stage in result.stages[-2:])
    assert abs(shared - image) <= 0.005


def test_the_file_is_the_network(uninterrupted):
    result, _ = uninterrupted
    assert digest(load(result.path)) == digest(result.network)
    assert result.network.name == "small"


def test_events(uninterrupted):
    result, events = uninterrupted
    want = []
    for stage, epochs in EPOCHS.items():
        total = epochs or 1
        want.append(("start", stage, 0, total))
        want += [("advance", stage, epoch + 1, total) for epoch in range(epochs)]
        want.append(("end", stage, total, total))
    assert [(event.kind, event.stage, event.done, event.total) for event in events] == want
    for event in events:
        json.dumps(dataclasses.asdict(event))
        assert (event.loss is not None) == (event.kind == "advance")
        assert (event.measure is None) == (event.kind == "advance")
    assert [event.measure for event in events if event.kind == "end"] == [
        stage.after for stage in result.stages
    ]
    densities = [event.density for event in events]
    assert densities == sorted(densities, reverse=True)
    # Two steps: after the first, densities are at 1/8 of the way from the target to 1.
    first = events[5 + 1].density
    assert first == pytest.approx((0.3 * 1536 + 0.5625 * 240) / 1776, abs=1e-3)


class Interrupt:
    """Ctrl-C at some of the events."""

    def __init__(self, at):
        self.at = at
        self.count = 0
        self.epochs = []

    def __call__(self, event):
        self.count += 1
        if event.kind == "advance":
            self.epochs.append((event.stage, event.done))
        if self.count in self.at:
            raise KeyboardInterrupt


def run_to_the_end(work_dir, dataset, interrupt, recipe=RECIPE):
    while True:
        try:
            return compress(recipe, work_dir, dataset=dataset, report=interrupt)
        except KeyboardInterrupt:
            # Nothing is ever half-written.
            assert {path.suffix for path in work_dir.iterdir()} <= {".safetensors", ".prunus"}
            assert not [path for path in work_dir.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("start", [2, 3, 4])
def test_interrupted_runs_give_the_same_image(start, uninterrupted, dataset, tmp_path):
    result, _ = uninterrupted
    # Seven events lie between two interrupts: a run repeats the starts and ends of old stages.
    interrupt = Interrupt(at=range(start, 200, 7))
    resumed = run_to_the_end(tmp_path, dataset, interrupt)
    assert interrupt.count > 30
    assert resumed.path.read_bytes() == result.path.read_bytes()
    assert resumed.stages == result.stages
    # No epoch was taken twice.
    assert interrupt.epochs == [
        (stage, epoch + 1) for stage, epochs in EPOCHS.items() for epoch in range(epochs)
    ]


def test_same_again(uninterrupted, dataset, tmp_path):
    result, _ = uninterrupted
    torch.manual_seed(99)
    torch.set_num_threads(2)
    again = compress(RECIPE, tmp_path, dataset=dataset)
    assert torch.get_num_threads() == 2
    assert again.path.read_bytes() == result.path.read_bytes()
    other = compress(dataclasses.replace(RECIPE, seed=4), tmp_path, dataset=dataset)
    assert digest(other.network) != digest(result.network)


def epochs_taken(recipe, work_dir, dataset, **options):
    counter = Interrupt(at=())
    compress(recipe, work_dir, dataset=dataset, report=counter, **options)
    taken = dict.fromkeys(EPOCHS, 0)
    for stage, _ in counter.epochs:
        taken[stage] += 1
    return taken


def test_only_what_has_changed_is_done_again(uninterrupted, dataset):
    work_dir = uninterrupted[0].path.parent
    nothing = dict.fromkeys(EPOCHS, 0)
    assert epochs_taken(RECIPE, work_dir, dataset) == nothing
    bits = replaced("share", bits=(2, 2))
    assert epochs_taken(bits, work_dir, dataset) == {**nothing, "fine-tune": 3}
    densities = replaced("prune", densities=(0.1, 0.1))
    assert epochs_taken(densities, work_dir, dataset) == {**nothing, "prune": 5, "fine-tune": 3}
    eight = replaced("image", activation_width=8)
    assert epochs_taken(eight, work_dir, dataset) == {**nothing, "prune": 5, "fine-tune": 3}
    assert epochs_taken(replaced("train", batch=60), work_dir, dataset) == EPOCHS
    assert epochs_taken(RECIPE, work_dir, dataset, resume=False) == EPOCHS


def test_other_data_train_again(dataset, tmp_path):
    assert epochs_taken(RECIPE, tmp_path, dataset) == EPOCHS
    other = dataclasses.replace(dataset, train_x=dataset.train_x.flip(1))
    assert epochs_taken(RECIPE, tmp_path, other) == EPOCHS


def test_damaged_checkpoint(dataset, tmp_path):
    (tmp_path / "train.safetensors").write_bytes(b"nonsense")
    with pytest.raises(DataError, match=r"train.safetensors is no checkpoint; remove it, or do"):
        compress(RECIPE, tmp_path, dataset=dataset)
    compress(RECIPE, tmp_path, dataset=dataset, resume=False)


def test_validation_pictures_are_not_trained_on(dataset, tmp_path):
    """Their labels may be anything: the image stays the same."""
    recipe = dataclasses.replace(RECIPE, train=dataclasses.replace(RECIPE.train, validation=299))
    run = pipeline._Run(recipe, tmp_path, dataset, lambda event: None, False)
    labels = dataset.train_y.clone()
    labels[run.held_back] = 0
    images = [
        compress(recipe, tmp_path, dataset=data, resume=False)
        for data in (dataset, dataclasses.replace(dataset, train_y=labels))
    ]
    assert digest(images[0].network) == digest(images[1].network)
    assert images[0].stages[-1].after.validation != images[1].stages[-1].after.validation


def test_test_pictures_decide_nothing(uninterrupted, dataset, tmp_path):
    shuffled = dataclasses.replace(dataset, test_x=dataset.test_x.flip(0) * 0.5)
    result = compress(RECIPE, tmp_path, dataset=shuffled)
    assert digest(result.network) == digest(uninterrupted[0].network)


def test_weights_brought_along(uninterrupted, dataset, tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(8)
        brought = chain((64, 24, 10))
    result = compress(RECIPE, tmp_path, weights=brought, dataset=dataset)
    assert [stage.name for stage in result.stages] == list(EPOCHS)[1:]
    assert torch.equal(result.reference.weights[0], brought[0].weight)
    # They are pruned, not overwritten.
    assert brought[0].weight.count_nonzero() == 64 * 24
    with torch.no_grad():
        brought[0].weight += 1
    assert digest(compress(RECIPE, tmp_path, weights=brought, dataset=dataset).network) != digest(
        result.network
    )
    with pytest.raises(DataError, match=r"it must have 3 modules, not 5"):
        compress(RECIPE, tmp_path, weights=chain((64, 24, 24, 10)), dataset=dataset)


def test_recipe_that_does_not_fit_the_data(dataset, tmp_path):
    recipe = replaced("network", layers=(63, 24, 9))
    recipe = dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, validation=300))
    with pytest.raises(RecipeError) as caught:
        compress(recipe, tmp_path, dataset=dataset)
    assert str(caught.value).split("\n  ") == [
        "recipe 'small':",
        "network.layers must start with 64 or '8x8', the pixels of digits, not 63",
        "network.layers must end with at least 10, the classes of digits, not 9",
        "train.validation must be less than 300, the training pictures of digits, not 300",
    ]


def test_accumulator_too_narrow(dataset, tmp_path):
    with pytest.raises(FitError, match=r"^layer 'fc1' fits no accumulator of 16 bits"):
        compress(replaced("image", accumulator_width=16), tmp_path, dataset=dataset)


def test_eight_bit_activations(dataset, tmp_path):
    result = compress(replaced("image", activation_width=8), tmp_path, dataset=dataset)
    shared, image = (stage.after.accuracy for stage in result.stages[-2:])
    assert result.network.activation_width == 8
    assert abs(shared - image) <= 0.02


def test_tiny_data(tmp_path):
    """One picture, one weight: nothing divides by zero."""
    data = Dataset(
        "digits",
        torch.ones(1, 1),
        torch.zeros(1, dtype=torch.int64),
        torch.ones(1, 1),
        torch.zeros(1, dtype=torch.int64),
        height=1,
        width=1,
    )
    recipe = dataclasses.replace(
        RECIPE,
        network=dataclasses.replace(RECIPE.network, layers=(1, 1)),
        train=dataclasses.replace(RECIPE.train, validation=0),
        prune=dataclasses.replace(RECIPE.prune, densities=(0.1,)),
        share=dataclasses.replace(RECIPE.share, bits=(2,)),
    )
    result = compress(recipe, tmp_path, dataset=data)
    assert result.stages[-1].after.accuracy == 1
    assert result.stages[-1].after.validation is None
