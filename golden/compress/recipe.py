"""A recipe: everything that decides what a compressed network will be, read from TOML.

Whatever is wrong with a recipe is listed at once, each line naming a key and what it may be.
"""

import dataclasses
import math
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from golden.errors import RecipeError
from golden.files import LARGEST_TEXT, check_file
from golden.layers import MAX_NAME, MAX_SIDE
from golden.nets.sources import DATASETS
from golden.nets.steps import is_entry, steps
from golden.recipes import FOLDER, bundled_recipes

__all__ = [
    "Image",
    "Network",
    "Prune",
    "Recipe",
    "Share",
    "Train",
    "load_recipe",
    "parse_recipe",
]

# Weights in the longest piece of an N:M pattern.
MAX_PIECE = 1024


@dataclass(frozen=True)
class Rule:
    """What a value may be: a test, and its wording."""

    holds: Callable[[Any], bool]
    allowed: str


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return _is_integer(value) or (isinstance(value, float) and math.isfinite(value))


def _integer(low: int, high: int) -> Rule:
    return Rule(
        lambda value: _is_integer(value) and low <= value <= high,
        f"an integer from {low} to {high}",
    )


def _number(low: float, high: float, *, above: bool = False) -> Rule:
    return Rule(
        lambda value: _is_number(value) and low <= value <= high and not (above and value == low),
        f"a number {'above' if above else 'from'} {low:g} {'and at most' if above else 'to'} "
        f"{high:g}",
    )


def _one_of(*choices: Any) -> Rule:
    return Rule(
        lambda value: not isinstance(value, bool) and value in choices,
        f"one of {', '.join(map(str, choices))}",
    )


def _name() -> Rule:
    return Rule(
        lambda value: (
            isinstance(value, str) and value.isprintable() and 1 <= len(value) <= MAX_NAME
        ),
        f"1 to {MAX_NAME} printable characters",
    )


def _pattern() -> Rule:
    def n_of_m(value: Any) -> bool:
        return isinstance(value, str) and _n_of_m(value) is not None

    return Rule(
        lambda value: (
            value in ("free", "balanced")
            or n_of_m(value)
            or (isinstance(value, (list, tuple)) and len(value) > 0 and all(map(n_of_m, value)))
        ),
        f"free, balanced, N:M with N below M and M at most {MAX_PIECE}, or a list of such N:M",
    )


def _n_of_m(text: str) -> tuple[int, int] | None:
    """What ``"N:M"`` says, or None if that is not what it is."""
    if not re.fullmatch(r"[0-9]{1,4}:[0-9]{1,4}", text):
        return None
    n, m = map(int, text.split(":"))
    return (n, m) if 1 <= n < m <= MAX_PIECE else None


def _each(rule: Rule, *, least: int = 1) -> Rule:
    return Rule(
        lambda value: (
            isinstance(value, (list, tuple)) and len(value) >= least and all(map(rule.holds, value))
        ),
        f"a list of at least {least}, each {rule.allowed}",
    )


def _layers() -> Rule:
    return Rule(
        lambda value: (
            isinstance(value, (list, tuple))
            and len(value) >= 2
            and all(is_entry(entry, first=not index) for index, entry in enumerate(value))
            and not isinstance(value[-1], str)
        ),
        f"a list: an input such as 64 or 28x28; steps such as conv 5x5 20, conv 3x3 20 same, "
        f"max 2x2, average 2x2, or 1 to {MAX_SIDE}; at last a number",
    )


def _key(rule: Rule, **options: Any) -> Any:
    return field(metadata={"rule": rule}, **options)


@dataclass(frozen=True, kw_only=True)
class Network:
    """``[network]``: layers that follow each other, a ReLU after each with weights but the last.

    Attributes
    ----------
    layers : tuple of int or str
        The input, then a step for each layer; see :mod:`golden.nets.steps`.
    """

    layers: tuple[int | str, ...] = _key(_layers())


@dataclass(frozen=True, kw_only=True)
class Train:
    """``[train]``: the dense network, and what retraining has in common with it.

    Attributes
    ----------
    epochs : int
        Passes over the training pictures. The learning rate falls to 0 along a cosine.
    batch : int
        Pictures in a step.
    learning_rate : float
        At the start; Adam's.
    weight_decay : float
        Taken off every weight in a step, times the learning rate, until sharing.
    shift : int
        Every picture is moved at random by up to so many pixels along both axes.
    validation : int
        Training pictures held back. They choose between recipes; no weight ever depends on them.
    """

    epochs: int = _key(_integer(0, 10_000))
    batch: int = _key(_integer(1, 1 << 16))
    learning_rate: float = _key(_number(0, 10, above=True))
    weight_decay: float = _key(_number(0, 10), default=0.0)
    shift: int = _key(_integer(0, 8), default=0)
    validation: int = _key(_integer(0, 1 << 20), default=0)


@dataclass(frozen=True, kw_only=True)
class Prune:
    """``[prune]``: gradual magnitude pruning, with retraining between the steps and after them.

    Attributes
    ----------
    pattern : str or tuple of str
        ``"free"``: the weights of greatest magnitude are left, wherever they are. ``"balanced"``:
        in each column every element has as many of them as any other; see
        :func:`golden.compress.prune.keep_balanced`. ``"2:8"``: so many of each 8 that follow each
        other in a column; see :func:`golden.compress.prune.keep_of_each`. A tuple has such an N:M
        for each layer.
    elements : int or None
        For how many elements it is balanced, and for the divisors of that; only with
        ``"balanced"``.
    densities : tuple of float or None
        Share of the weights of each layer that is left. None if N:M says so.
    steps : int
        In how many steps the densities are reached; see :func:`golden.compress.prune.density_at`.
    step_epochs : int
        Retraining after each step, passes over the training pictures.
    epochs : int
        Retraining after the last step, on top.
    learning_rate : float
        At the start; it falls to 0 at the end of the retraining along a cosine.
    """

    pattern: str | tuple[str, ...] = _key(_pattern(), default="free")
    elements: int | None = _key(_integer(1, 1024), default=None)
    densities: tuple[float, ...] | None = _key(_each(_number(0, 1, above=True)), default=None)
    steps: int = _key(_integer(1, 10_000))
    step_epochs: int = _key(_integer(1, 10_000))
    epochs: int = _key(_integer(0, 10_000))
    learning_rate: float = _key(_number(0, 10, above=True))

    def ratio(self, layer: int) -> tuple[int, int] | None:
        """N and M for a layer, or None if the pattern is another one."""
        return _n_of_m(self.pattern if isinstance(self.pattern, str) else self.pattern[layer])


@dataclass(frozen=True, kw_only=True)
class Share:
    """``[share]``: weight sharing, and the fine-tuning of the shared values and the biases.

    Attributes
    ----------
    bits : tuple of int
        Width of the codes of each layer; ``2**bits - 1`` weights can be told apart.
    epochs : int
        Fine-tuning, passes over the training pictures.
    learning_rate : float
        At the start; it falls to 0 along a cosine.
    """

    bits: tuple[int, ...] = _key(_each(_integer(2, 8)))
    epochs: int = _key(_integer(0, 10_000))
    learning_rate: float = _key(_number(0, 10, above=True))


@dataclass(frozen=True, kw_only=True)
class Image:
    """``[image]``: fixed point.

    Attributes
    ----------
    activation_width : int
        Bits of an activation, 8 or 16.
    weight_width : int
        Bits of a shared value, 8 to 16. A Winograd unit takes 14 with tiles of 2, and 12 with
        tiles of 4.
    accumulator_width : int
        Bits that no accumulator may ever need more of, whatever the input.
    calibration_samples : int
        Training pictures from which the radix points of the activations are chosen.
    """

    activation_width: int = _key(_one_of(8, 16), default=16)
    weight_width: int = _key(_integer(8, 16), default=16)
    accumulator_width: int = _key(_integer(16, 48), default=36)
    calibration_samples: int = _key(_integer(1, 1 << 20), default=1000)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained, compressed and turned into an image.

    Attributes
    ----------
    name : str
        Name of the image.
    dataset : str
        One of :data:`golden.nets.sources.DATASETS`.
    seed : int
        Of everything random: initial weights, order of the pictures, their shifts.
    network, train, prune, share, image
        The sections.

    Raises
    ------
    RecipeError
        If anything is out of range, all of it in one message.
    """

    name: str = _key(_name())
    dataset: str = _key(_one_of(*DATASETS))
    seed: int = _key(_integer(0, 2**31 - 1))
    network: Network
    train: Train
    prune: Prune
    share: Share
    image: Image = Image()

    def __post_init__(self) -> None:
        _refuse(_problems(dataclasses.asdict(self)), f"recipe {self.name!r:.200}")


SECTIONS: dict[str, type] = {
    "network": Network,
    "train": Train,
    "prune": Prune,
    "share": Share,
    "image": Image,
}


def load_recipe(source: str | Path) -> Recipe:
    """Read a recipe.

    Parameters
    ----------
    source : str or Path
        A TOML file, or the name of a bundled recipe.

    Returns
    -------
    Recipe

    Raises
    ------
    RecipeError
        If there is no such recipe, or anything is wrong with it.
    DataError
        If it is no file, or far too large.

    Examples
    --------
    >>> load_recipe("lenet_300_100").network.layers
    (784, 300, 100, 10)
    """
    path = Path(source)
    if str(source) in bundled_recipes():
        path = FOLDER / f"{source}.toml"
    try:
        text = check_file(path, LARGEST_TEXT).read_text(encoding="utf-8")
    except OSError as error:
        raise RecipeError(
            f"recipe {str(source)!r} must be a TOML file or one of "
            f"{', '.join(bundled_recipes())}: {error.strerror}"
        ) from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path} must be UTF-8: {error}") from error
    return parse_recipe(text, origin=str(path))


def parse_recipe(text: str, *, origin: str = "recipe") -> Recipe:
    """Understand the text of a recipe.

    Parameters
    ----------
    text : str
        TOML.
    origin : str
        What a message calls the recipe, e.g. its path.

    Returns
    -------
    Recipe

    Raises
    ------
    RecipeError
        If it is not TOML, or a key is unknown, missing, of the wrong type or out of range.

    Examples
    --------
    >>> parse_recipe('name = "x"')
    Traceback (most recent call last):
    ...
    golden.errors.RecipeError: recipe has 6 faults:
      dataset is missing; it must be one of digits, mnist, fashion-mnist
      seed is missing; it must be an integer from 0 to 2147483647
      [network] is missing
      [train] is missing
      [prune] is missing
      [share] is missing
    """
    try:
        values = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise RecipeError(f"{origin} must be TOML: {error}") from error
    _refuse(_problems(values), origin)
    sections = {
        name: section(
            **{
                key: tuple(value) if isinstance(value, list) else value
                for key, value in values[name].items()
            }
        )
        for name, section in SECTIONS.items()
        if name in values
    }
    return Recipe(**{**values, **sections})


def _refuse(problems: list[str], origin: str) -> None:
    if problems:
        faults = "1 fault" if len(problems) == 1 else f"{len(problems)} faults"
        raise RecipeError("\n  ".join([f"{origin} has {faults}:", *problems]))


def _problems(values: dict[str, Any]) -> list[str]:
    problems = _key_problems("", Recipe, values)
    for name, section in SECTIONS.items():
        if name not in values:
            if section is not Image:
                problems.append(f"[{name}] is missing")
        elif not isinstance(values[name], dict):
            problems.append(f"{name} must be a section, [{name}], not {values[name]!r:.200}")
        else:
            problems += _key_problems(f"{name}.", section, values[name])
            if section is Prune:
                problems += _pattern_problems(values[name])
    # Only lists that are right by themselves can be held against each other.
    return problems or _length_problems(values)


def _key_problems(prefix: str, owner: type, values: dict[str, Any]) -> list[str]:
    fields = {entry.name: entry for entry in dataclasses.fields(owner)}
    problems = [
        f"{prefix}{key} is unknown; known are {', '.join(fields)}"
        for key in values
        if key not in fields
    ]
    for name, entry in fields.items():
        rule = entry.metadata.get("rule")
        if rule is None:
            continue
        if name not in values:
            if entry.default is dataclasses.MISSING:
                problems.append(f"{prefix}{name} is missing; it must be {rule.allowed}")
        elif values[name] is None and entry.default is None:
            # Left out in a recipe made in Python.
            continue
        elif not rule.holds(values[name]):
            problems.append(f"{prefix}{name} must be {rule.allowed}, not {values[name]!r:.200}")
    return problems


def _pattern_problems(prune: dict[str, Any]) -> list[str]:
    """What is missing for the pattern, and what does not go with it."""
    fields = {entry.name: entry for entry in dataclasses.fields(Prune)}
    pattern = prune.get("pattern", "free")
    if not fields["pattern"].metadata["rule"].holds(pattern):
        return []
    wanted = {"elements": ("balanced",), "densities": ("free", "balanced")}
    problems = []
    for key, patterns in wanted.items():
        there = prune.get(key) is not None
        if there and pattern not in patterns:
            problems.append(
                f"prune.{key} must be left out where prune.pattern is {pattern!r:.200}, "
                f"not {prune[key]!r:.200}"
            )
        if not there and pattern in patterns:
            problems.append(
                f"prune.{key} is missing; where prune.pattern is {pattern!r} it must be "
                f"{fields[key].metadata['rule'].allowed}"
            )
    return problems


def _length_problems(values: dict[str, Any]) -> list[str]:
    try:
        found = steps(values["network"]["layers"])
    except ValueError as error:
        return [f"network.layers: {error}"]
    layers = sum(step.has_weights for step in found)
    lists = {
        "prune.pattern": values["prune"].get("pattern"),
        "prune.densities": values["prune"].get("densities"),
        "share.bits": values["share"]["bits"],
    }
    return [
        f"{key} must have {layers} values, one for each layer with weights, not {len(found)}"
        for key, found in lists.items()
        if isinstance(found, (list, tuple)) and len(found) != layers
    ]
