import dataclasses
import re

import pytest

from golden.compress.recipe import Recipe, load_recipe, parse_recipe
from golden.errors import DataError, RecipeError
from golden.recipes import FOLDER, bundled_recipes

GOOD = """
name = "small"
dataset = "digits"
seed = 3
[network]
layers = [64, 20, 10]
[train]
epochs = 2
batch = 16
learning_rate = 0.01
[prune]
densities = [0.1, 1]
steps = 4
step_epochs = 1
epochs = 5
learning_rate = 1
[share]
bits = [2, 8]
epochs = 0
learning_rate = 1e-3
"""


def replaced(key, value):
    """The good recipe with the first line of ``key`` changed; None takes the line out."""
    line = "" if value is None else f"{key} = {value}"
    text, count = re.subn(rf"^{key} = .*$", lambda _: line, GOOD, count=1, flags=re.M)
    assert count == 1
    return text


def fault(text):
    with pytest.raises(RecipeError) as caught:
        parse_recipe(text, origin="small.toml")
    first, line = str(caught.value).split("\n")
    assert first == "small.toml has 1 fault:"
    return line.strip()


def test_values():
    recipe = parse_recipe(GOOD)
    assert recipe.network.layers == (64, 20, 10)
    assert recipe.prune.densities == (0.1, 1)
    assert recipe.share.bits == (2, 8)
    assert recipe.seed == 3
    # What is left out has a default.
    assert recipe.train.shift == 0
    assert recipe.train.weight_decay == 0
    assert recipe.image.activation_width == 16
    assert recipe.image.accumulator_width == 36


def test_convolutions():
    """Pooling has no weights, so it has no density and no width of codes either."""
    layers = "['8x8', 'conv 3x3 4 same', 'max 2x2', 10]"
    recipe = parse_recipe(replaced("layers", layers))
    assert recipe.network.layers == ("8x8", "conv 3x3 4 same", "max 2x2", 10)
    assert hash(recipe) != hash(parse_recipe(GOOD))


def test_recipes_are_frozen():
    recipe = parse_recipe(GOOD)
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.seed = 4
    assert hash(recipe) == hash(parse_recipe(GOOD))


@pytest.mark.parametrize("name", bundled_recipes())
def test_bundled(name):
    assert load_recipe(name) == load_recipe(FOLDER / f"{name}.toml")


def test_the_promised_recipes_are_bundled():
    assert {"digits", "lenet_300_100"} <= set(bundled_recipes())


LAYERS = (
    "a list: an input such as 64 or 28x28; steps such as conv 5x5 20, conv 3x3 20 same, max 2x2, "
    "average 2x2, or 1 to 1048576; at last a number"
)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("name", '""', "name must be 1 to 128 printable characters, not ''"),
        ("name", r'"a\nb"', r"name must be 1 to 128 printable characters, not 'a\nb'"),
        ("dataset", '"cifar"', "dataset must be one of digits, mnist, fashion-mnist, not 'cifar'"),
        ("dataset", "[]", "dataset must be one of digits, mnist, fashion-mnist, not []"),
        ("seed", "-1", "seed must be an integer from 0 to 2147483647, not -1"),
        ("seed", "true", "seed must be an integer from 0 to 2147483647, not True"),
        ("seed", "1.0", "seed must be an integer from 0 to 2147483647, not 1.0"),
        ("seed", None, "seed is missing; it must be an integer from 0 to 2147483647"),
        (
            "layers",
            "[64]",
            f"network.layers must be {LAYERS}, not [64]",
        ),
        (
            "layers",
            "[64, 0, 10]",
            f"network.layers must be {LAYERS}, not [64, 0, 10]",
        ),
        ("layers", "[64, '20', 10]", f"network.layers must be {LAYERS}, not [64, '20', 10]"),
        (
            "layers",
            "['8x8', 'max 2x2']",
            f"network.layers must be {LAYERS}, not ['8x8', 'max 2x2']",
        ),
        (
            "layers",
            "['8x8', 'conv 9x9 4', 10]",
            "network.layers: 'conv 9x9 4' must fit a map of 8x8",
        ),
        ("batch", "0", "train.batch must be an integer from 1 to 65536, not 0"),
        ("batch", '"16"', "train.batch must be an integer from 1 to 65536, not '16'"),
        (
            "learning_rate",
            "0.0",
            "train.learning_rate must be a number above 0 and at most 10, not 0.0",
        ),
        (
            "learning_rate",
            "nan",
            "train.learning_rate must be a number above 0 and at most 10, not nan",
        ),
        ("step_epochs", "0", "prune.step_epochs must be an integer from 1 to 10000, not 0"),
        (
            "densities",
            "[0.1, 1.5]",
            (
                "prune.densities must be a list of at least 1, each a number above 0 and at most "
                "1, not [0.1, 1.5]"
            ),
        ),
        (
            "densities",
            "[0.1]",
            "prune.densities must have 2 values, one for each layer with weights, not 1",
        ),
        (
            "bits",
            "[1, 4]",
            "share.bits must be a list of at least 1, each an integer from 2 to 8, not [1, 4]",
        ),
        (
            "bits",
            "[4, 4, 4]",
            "share.bits must have 2 values, one for each layer with weights, not 3",
        ),
    ],
)
def test_fault(key, value, message):
    assert fault(replaced(key, value)) == message


PATTERN = "free, balanced, N:M with N below M and M at most 1024, or a list of such N:M"
NO_DENSITIES = (
    "prune.densities is missing; where prune.pattern is {!r} it must be a list of at least 1, each "
    "a number above 0 and at most 1"
)


def patterned(lines, densities=""):
    """The good recipe with other ``densities``, and ``lines`` beside them."""
    return GOOD.replace("densities = [0.1, 1]", f"{densities}\n{lines}")


def test_patterns():
    free = parse_recipe(GOOD).prune
    assert (free.pattern, free.elements, free.ratio(0)) == ("free", None, None)
    assert parse_recipe(patterned('pattern = "free"', "densities = [0.1, 1]")).prune == free
    balanced = parse_recipe(
        patterned('pattern = "balanced"\nelements = 16', "densities = [0.1, 1]")
    ).prune
    assert (balanced.elements, balanced.ratio(1)) == (16, None)
    same = parse_recipe(patterned('pattern = "2:8"')).prune
    assert (same.densities, same.ratio(0), same.ratio(1)) == (None, (2, 8), (2, 8))
    each = parse_recipe(patterned('pattern = ["1:16", "4:10"]')).prune
    assert (each.ratio(0), each.ratio(1)) == ((1, 16), (4, 10))
    assert hash(each) != hash(same)


@pytest.mark.parametrize(
    "value",
    [
        '"even"',
        "8",
        '"8:2"',
        '"0:4"',
        '"4:4"',
        '"2:2000"',
        '"2:8 "',
        '"2-8"',
        "[]",
        '["2:8", "free"]',
        "[[2, 8]]",
        "true",
    ],
)
def test_wrong_pattern(value):
    shown = {"true": "True"}.get(value, value.replace('"', "'"))
    assert fault(patterned(f"pattern = {value}", "densities = [0.1, 1]")) == (
        f"prune.pattern must be {PATTERN}, not {shown}"
    )


@pytest.mark.parametrize(
    ("lines", "densities", "message"),
    [
        (
            'pattern = "2:8"',
            "densities = [0.1, 1]",
            "prune.densities must be left out where prune.pattern is '2:8', not [0.1, 1]",
        ),
        (
            'pattern = ["2:8"]',
            "",
            "prune.pattern must have 2 values, one for each layer with weights, not 1",
        ),
        (
            "",
            "",
            NO_DENSITIES.format("free"),
        ),
        (
            'pattern = "balanced"\nelements = 4',
            "",
            NO_DENSITIES.format("balanced"),
        ),
        (
            'pattern = "balanced"',
            "densities = [0.1, 1]",
            (
                "prune.elements is missing; where prune.pattern is 'balanced' it must be an "
                "integer from 1 to 1024"
            ),
        ),
        (
            'pattern = "balanced"\nelements = 0',
            "densities = [0.1, 1]",
            "prune.elements must be an integer from 1 to 1024, not 0",
        ),
        (
            "elements = 4",
            "densities = [0.1, 1]",
            "prune.elements must be left out where prune.pattern is 'free', not 4",
        ),
        (
            'pattern = "1:2"\nelements = 4',
            "",
            "prune.elements must be left out where prune.pattern is '1:2', not 4",
        ),
    ],
)
def test_what_a_pattern_needs(lines, densities, message):
    assert fault(patterned(lines, densities)) == message


def test_unknown_keys():
    assert fault("colour = 1\n" + GOOD) == (
        "colour is unknown; known are name, dataset, seed, network, train, prune, share, image"
    )
    assert fault(GOOD + "epoch = 1") == (
        "share.epoch is unknown; known are bits, epochs, learning_rate"
    )
    assert fault(GOOD + "[image]\nactivation_width = 12") == (
        "image.activation_width must be one of 8, 16, not 12"
    )


def test_sections():
    assert fault(GOOD.replace("[network]\nlayers = [64, 20, 10]", "")) == "[network] is missing"
    no_section = GOOD.replace("[network]\nlayers = [64, 20, 10]", "")
    assert fault("network = 3\n" + no_section) == "network must be a section, [network], not 3"


def test_a_pattern_is_listed_with_all_other_faults():
    text = patterned('pattern = "1:4"\nelements = 16', "densities = [0.1, 1]")
    with pytest.raises(RecipeError) as caught:
        parse_recipe(text.replace("seed = 3", "seed = -1").replace("bits = [2, 8]", "bits = 1"))
    lines = str(caught.value).split("\n  ")
    assert [line.split()[0] for line in lines[1:]] == [
        "seed",
        "prune.elements",
        "prune.densities",
        "share.bits",
    ]


def test_all_faults_at_once():
    text = replaced("seed", "-1").replace("batch", "bach").replace("[2, 8]", "8")
    with pytest.raises(RecipeError) as caught:
        parse_recipe(text)
    lines = str(caught.value).split("\n  ")
    assert lines[0] == "recipe has 4 faults:"
    assert [line.split()[0] for line in lines[1:]] == [
        "seed",
        "train.bach",
        "train.batch",
        "share.bits",
    ]


def test_recipes_made_in_python_are_checked_too():
    recipe = parse_recipe(GOOD)
    with pytest.raises(RecipeError, match=r"prune.steps must be an integer from 1 to 10000, not 0"):
        dataclasses.replace(recipe, prune=dataclasses.replace(recipe.prune, steps=0))


def test_not_toml():
    with pytest.raises(RecipeError, match=r"^x must be TOML: "):
        parse_recipe("a = ", origin="x")


def test_no_such_recipe(tmp_path):
    with pytest.raises(
        RecipeError, match=r"^recipe 'nothing' must be a TOML file or one of .*digits.*: No such"
    ):
        load_recipe("nothing")
    path = tmp_path / "latin.toml"
    path.write_bytes(b'name = "\xe9"')
    with pytest.raises(RecipeError, match=r"latin.toml must be UTF-8: "):
        load_recipe(path)


def test_what_is_no_file():
    with pytest.raises(DataError, match=r"^/dev/zero: must be a file$"):
        load_recipe("/dev/zero")


def test_deep_nesting():
    with pytest.raises(RecipeError, match=r"^x must be TOML: "):
        parse_recipe("x = " + 10_000 * "[", origin="x")


def test_file(tmp_path):
    path = tmp_path / "my.toml"
    path.write_text(GOOD)
    assert isinstance(load_recipe(path), Recipe)
    path.write_text("x = 1\n" + GOOD)
    with pytest.raises(RecipeError, match=rf"^{re.escape(str(path))} has 1 fault:"):
        load_recipe(path)
