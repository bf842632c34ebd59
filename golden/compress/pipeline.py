"""From a recipe to an image: train, prune, share, fine-tune, fixed point, each stage measured."""

import contextlib
import copy
import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from golden.compress import checkpoint, sizes
from golden.compress.convert import convert
from golden.compress.model import Free, Model, Shared, accuracy, image_accuracy
from golden.compress.prune import density_at, keep, keep_balanced, keep_of_each
from golden.compress.recipe import Prune, Recipe
from golden.compress.report import Event, Measure, Report, Stage, silent
from golden.compress.train import Pictures, Trainer, generator
from golden.compress.weights import check_network
from golden.errors import RecipeError
from golden.image import Network, save
from golden.nets.chain import chain
from golden.nets.data import Dataset, load_dataset
from golden.nets.steps import input_shape

__all__ = ["Compressed", "compress"]

# Checkpoints of another version are not taken up.
VERSION = 2


@dataclass(frozen=True, eq=False, kw_only=True)
class Compressed:
    """What a compression leaves.

    Attributes
    ----------
    recipe : Recipe
        What was followed.
    network : golden.image.Network
        The image.
    path : Path
        The image's file.
    stages : tuple of Stage
        In order; the ``after`` of the last is the image's.
    reference : Model
        The dense float network that was compressed.
    model : Model
        The shared float network of which the image is the fixed-point version.
    reference_accuracy : float
        Share of the test inputs that ``reference`` classifies right, 0 to 1.
    """

    recipe: Recipe
    network: Network
    path: Path
    stages: tuple[Stage, ...]
    reference: Model
    model: Model
    reference_accuracy: float


def compress(
    recipe: Recipe,
    work_dir: Path,
    *,
    weights: nn.Sequential | None = None,
    dataset: Dataset | None = None,
    report: Report = silent,
    resume: bool = True,
) -> Compressed:
    """Follow a recipe.

    The same recipe gives the same image, bit by bit, on the same machine with the same torch; for
    that everything runs in one thread. After each epoch a checkpoint is written, so that a run
    that was interrupted anywhere continues, and ends with the image it would have had. Finished
    stages are taken over too, as long as nothing that they depend on has changed: another width of
    codes does not train again.

    Parameters
    ----------
    recipe : Recipe
        What to do.
    work_dir : Path
        Folder for checkpoints and the image; made if it does not exist.
    weights : nn.Sequential, optional
        A trained network to start from, in place of the stage ``train``: what
        :func:`golden.nets.chain.chain` makes of the recipe's layers, with other weights; see
        :func:`golden.compress.weights.load_weights`.
    dataset : Dataset, optional
        In place of the recipe's.
    report : callable
        Told each :class:`~golden.compress.report.Event`. What it raises ends the run.
    resume : bool
        Take up the checkpoints in ``work_dir``, or else start afresh.

    Returns
    -------
    Compressed

    Raises
    ------
    RecipeError
        If recipe and data set, or recipe and weights, do not fit together.
    DataError
        If the data set is missing, or a checkpoint is damaged.
    FitError
        If the recipe's accumulator is too narrow for the network.
    """
    if weights is not None:
        check_network(weights, recipe.network.layers)
    dataset = load_dataset(recipe.dataset) if dataset is None else dataset
    _check_fit(recipe, dataset)
    work_dir.mkdir(parents=True, exist_ok=True)
    with _one_thread():
        return _Run(recipe, work_dir, dataset, report, resume).compress(weights)


def _check_fit(recipe: Recipe, dataset: Dataset) -> None:
    pictures, inputs = dataset.train_x.shape
    shape = input_shape(recipe.network.layers)
    classes = int(max(dataset.train_y.max(), dataset.test_y.max())) + 1
    layers, held_back = recipe.network.layers, recipe.train.validation
    problems = []
    if shape not in ((inputs,), (dataset.height, dataset.width, 1)):
        problems.append(
            f"network.layers must start with {inputs} or '{dataset.height}x{dataset.width}', the "
            f"pixels of {dataset.name}, not {layers[0]!r}"
        )
    last = layers[-1]
    if isinstance(last, int) and last < classes:
        problems.append(
            f"network.layers must end with at least {classes}, the classes of {dataset.name}, "
            f"not {layers[-1]}"
        )
    if held_back >= pictures:
        problems.append(
            f"train.validation must be less than {pictures}, the training pictures of "
            f"{dataset.name}, not {held_back}"
        )
    if problems:
        raise RecipeError("\n  ".join([f"recipe {recipe.name!r}:", *problems]))


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """With more, sums would be added up in an order that depends on the machine's load."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class _Run:
    """One compression on its way."""

    def __init__(
        self, recipe: Recipe, work_dir: Path, dataset: Dataset, report: Report, resume: bool
    ) -> None:
        self.recipe = recipe
        self.work_dir = work_dir
        self.dataset = dataset
        self.report = report
        self.resume = resume
        self.stages: list[Stage] = []

        order = torch.randperm(len(dataset.train_y), generator=generator(recipe.seed, "split"))
        self.held_back, kept = order.tensor_split([recipe.train.validation])
        self.calibration = dataset.train_x[kept[: recipe.image.calibration_samples]]
        self.pictures = Pictures.of(
            dataset.train_x[kept],
            dataset.train_y[kept],
            height=dataset.height,
            width=dataset.width,
            shift=recipe.train.shift,
        )
        # Digest of all that has had a say in the weights so far.
        self.key = _digest(
            VERSION,
            torch.__version__,
            _fingerprint([dataset.train_x, dataset.train_y]),
            recipe.seed,
            dataclasses.asdict(recipe.train),
        )

    def compress(self, weights: nn.Sequential | None) -> Compressed:
        recipe = self.recipe
        if weights is None:
            with torch.random.fork_rng():
                torch.manual_seed(recipe.seed)
                model = self._model(chain(recipe.network.layers))
            self.key = _digest(self.key, dataclasses.asdict(recipe.network))
            measure = self._measure(model, sizes.dense_bytes(model.weights, model.others))
            model, measure = self._train(model, measure)
        else:
            model = self._model(copy.deepcopy(weights))
            measure = self._measure(model, sizes.dense_bytes(model.weights, model.others))
            self.key = _digest(self.key, _fingerprint(list(model.module.state_dict().values())))
        reference, reference_measure = copy.deepcopy(model), measure

        model, measure = self._prune(model, measure)
        model, measure = self._share(model, measure)
        model, measure = self._tune(model, measure)
        network, path = self._image(model, measure)
        return Compressed(
            recipe=recipe,
            network=network,
            path=path,
            stages=tuple(self.stages),
            reference=reference,
            model=model,
            reference_accuracy=reference_measure.accuracy,
        )

    def _model(self, module: nn.Module) -> Model:
        *sides, last = input_shape(self.recipe.network.layers)
        return Model(module, (last, *sides))

    def _train(self, model: Model, before: Measure) -> tuple[Model, Measure]:
        options = self.recipe.train
        return self._epochs(
            "train",
            Free,
            model,
            before,
            epochs=options.epochs,
            learning_rate=options.learning_rate,
            weight_decay=options.weight_decay,
            bytes_after=lambda model: sizes.dense_bytes(model.weights, model.others),
        )

    def _prune(self, model: Model, before: Measure) -> tuple[Model, Measure]:
        options = self.recipe.prune
        self.key = _digest(self.key, dataclasses.asdict(options))

        def prune(model: Model, epoch: int) -> None:
            step, between = divmod(epoch, options.step_epochs)
            if between or step >= options.steps:
                return
            for index, weights in enumerate(model.weights):
                model.masks[index] = _kept(weights, options, index, step + 1)

        return self._epochs(
            "prune",
            Free,
            model,
            before,
            epochs=options.steps * options.step_epochs + options.epochs,
            learning_rate=options.learning_rate,
            weight_decay=self.recipe.train.weight_decay,
            bytes_after=lambda model: sizes.pruned_bytes(model.masks, model.others),
            before_epoch=prune,
        )

    def _share(self, model: Model, before: Measure) -> tuple[Model, Measure]:
        self._tell("start", "share", 0, 1, model, measure=before)
        model.share(self.recipe.share.bits)
        return model, self._end("share", 1, model, before, self._shared_bytes(model))

    def _tune(self, model: Model, before: Measure) -> tuple[Model, Measure]:
        options = self.recipe.share
        self.key = _digest(self.key, dataclasses.asdict(options))
        return self._epochs(
            "fine-tune",
            Shared,
            model,
            before,
            epochs=options.epochs,
            learning_rate=options.learning_rate,
            weight_decay=0.0,
            bytes_after=self._shared_bytes,
        )

    def _image(self, model: Model, before: Measure) -> tuple[Network, Path]:
        self._tell("start", "image", 0, 1, model, measure=before)
        options = self.recipe.image
        network = convert(
            model.module,
            model.inputs(self.calibration),
            name=self.recipe.name,
            bits=dict(zip(model.layers, self.recipe.share.bits, strict=True)),
            activation_width=options.activation_width,
            weight_width=options.weight_width,
            accumulator_width=options.accumulator_width,
        )
        path = self.work_dir / "image.prunus"
        save(network, path)
        self._end("image", 1, model, before, path.stat().st_size, network)
        return network, path

    def _epochs(
        self,
        stage: str,
        task: type[Free] | type[Shared],
        model: Model,
        before: Measure,
        *,
        epochs: int,
        learning_rate: float,
        weight_decay: float,
        bytes_after: Callable[[Model], int],
        before_epoch: Callable[[Model, int], None] = lambda model, epoch: None,
    ) -> tuple[Model, Measure]:
        """A stage that trains ``model``, from its last checkpoint if there is one."""
        path = self.work_dir / f"{stage}.safetensors"
        key = _digest(self.key, stage)
        found = checkpoint.read(path) if self.resume else None
        if found is not None and found.key != key:
            found = None
        if found is not None:
            model.restore(found.tensors)
        trainer = Trainer(
            task(model),
            self.pictures,
            batch=self.recipe.train.batch,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            epochs=epochs,
        )
        if found is not None:
            trainer.restore(found.tensors)
        done = 0 if found is None else found.epoch

        self._tell("start", stage, done, epochs, model, measure=before)
        for epoch in range(done, epochs):
            before_epoch(model, epoch)
            trainer.task.settle()
            loss = trainer.epoch(epoch, generator(self.recipe.seed, stage, epoch))
            # The optimiser ends with its stage.
            state = trainer.tensors() if epoch + 1 < epochs else {}
            tensors = {**model.tensors(), **state}
            checkpoint.write(path, checkpoint.Checkpoint(key, epoch + 1, tensors))
            self._tell("advance", stage, epoch + 1, epochs, model, loss=loss)
        trainer.finish()
        return model, self._end(stage, epochs, model, before, bytes_after(model))

    def _end(
        self,
        stage: str,
        total: int,
        model: Model,
        before: Measure,
        size: int,
        network: Network | None = None,
    ) -> Measure:
        after = self._measure(model, size, network)
        self.stages.append(Stage(name=stage, before=before, after=after))
        self._tell("end", stage, total, total, model, measure=after)
        return after

    def _tell(
        self,
        kind: Literal["start", "advance", "end"],
        stage: str,
        done: int,
        total: int,
        model: Model,
        *,
        loss: float | None = None,
        measure: Measure | None = None,
    ) -> None:
        self.report(
            Event(
                kind=kind,
                stage=stage,
                done=done,
                total=total,
                density=model.density,
                loss=loss,
                measure=measure,
            )
        )

    def _measure(self, model: Model, size: int, network: Network | None = None) -> Measure:
        def right(x: Tensor, y: Tensor) -> float:
            return accuracy(model, x, y) if network is None else image_accuracy(network, x, y)

        data = self.dataset
        held_back = data.train_x[self.held_back], data.train_y[self.held_back]
        return Measure(
            accuracy=right(data.test_x, data.test_y),
            validation=right(*held_back) if len(self.held_back) else None,
            density=model.density,
            bytes=size,
        )

    def _shared_bytes(self, model: Model) -> int:
        return sizes.shared_bytes(model.masks, model.others, self.recipe.share.bits)


def _kept(weights: Tensor, options: Prune, layer: int, step: int) -> Tensor:
    """Mask of a layer after a step of pruning."""
    matrix = weights.flatten(1)
    ratio = options.ratio(layer)
    if ratio is not None:
        n, m = ratio
        mask = keep_of_each(matrix, round(m * density_at(n / m, step, options.steps)), m)
        return mask.view(weights.shape)
    assert options.densities is not None
    density = density_at(options.densities[layer], step, options.steps)
    if options.elements is not None:
        return keep_balanced(matrix, density, options.elements).view(weights.shape)
    return keep(weights, density)


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _fingerprint(tensors: list[Tensor]) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(repr((tensor.dtype, tuple(tensor.shape))).encode())
        digest.update(tensor.detach().contiguous().numpy().data)
    return digest.hexdigest()
