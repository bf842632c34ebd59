"""The recipes of the digits, whole: what they promise must come out of them."""

import pytest

from golden.compress.pipeline import compress
from golden.compress.recipe import load_recipe


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return compress(load_recipe("digits"), tmp_path_factory.mktemp("digits"))


def test_accuracy(result):
    # A picture is a quarter of a point. Other processors round otherwise and may lose a few more.
    assert result.reference_accuracy >= 0.965
    assert result.stages[-1].after.accuracy >= result.reference_accuracy - 0.0125


def test_the_image_is_as_good_as_the_floats_it_comes_from(result):
    shared, image = (stage.after.accuracy for stage in result.stages[-2:])
    assert abs(shared - image) <= 0.0025


def test_convolutions(tmp_path):
    result = compress(load_recipe("digits_cnn"), tmp_path)
    assert result.reference_accuracy >= 0.97
    assert result.stages[-1].after.accuracy >= result.reference_accuracy - 0.0125
    assert result.stages[-1].after.density < 0.3


def test_size(result):
    assert result.stages[0].before.bytes == 4 * 12_060
    assert result.stages[-1].after.bytes <= 4 * 12_060 / 14
    assert result.stages[-1].after.density < 0.12
