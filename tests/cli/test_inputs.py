import dataclasses
import os

import click
import numpy as np
import pytest
import torch

from cli.inputs import accuracy, read_inputs
from golden.errors import DataError
from golden.fixed import quantise

NONE = {
    "input_file": None,
    "dataset": None,
    "random": None,
    "density": 0.3,
    "seed": 1,
    "limit": None,
}


def read(network, **options):
    return read_inputs(network, {**NONE, **options})


def test_random_by_default(network):
    first, second = read(network), read(network)
    assert first.vectors.shape == (16, 24)
    assert first.vectors.dtype == np.int16
    assert np.array_equal(first.vectors, second.vectors)
    assert not np.array_equal(first.vectors, read(network, seed=2).vectors)
    assert first.vectors.min() < 0 < first.vectors.max()


def test_density_of_random(network):
    for density in 0.0, 0.1, 1.0:
        vectors = read(network, random=1000, density=density).vectors
        assert abs((vectors != 0).mean() - density) < 0.01


@pytest.mark.parametrize("density", ["nan", "inf", "-0.1", "1.1"])
def test_wrong_density(run, image, density):
    stderr = run("golden", image, "--random", 1, "--density", density, code=2).stderr
    assert f"Invalid value for '--density': {density} is not in the range 0<=x<=1." in stderr


def test_known_answers_come_before_random(network):
    known = dataclasses.replace(
        network,
        known_inputs=np.ones((3, 24), np.int16),
        known_outputs=np.zeros((3, 10), np.int16),
    )
    found = read(known, limit=2)
    assert found.vectors.tolist() == [[1] * 24] * 2
    assert found.answers.shape == (2, 10)
    assert read(known, random=5).answers is None


def test_more_than_one_source(network):
    with pytest.raises(click.UsageError, match="--dataset and --random cannot both be given"):
        read(network, dataset="digits", random=1)


def save(tmp_path, array):
    path = tmp_path / "x.npy"
    np.save(path, array)
    return path


def test_integers_from_file(network, tmp_path):
    vectors = np.arange(48).reshape(2, 24) - 24
    found = read(network, input_file=save(tmp_path, vectors))
    assert np.array_equal(found.vectors, vectors)
    assert found.vectors.dtype == np.int16
    assert read(network, input_file=save(tmp_path, vectors), limit=1).vectors.shape == (1, 24)


def test_one_vector_from_file(network, tmp_path):
    assert read(network, input_file=save(tmp_path, np.zeros(24, int))).vectors.shape == (1, 24)


def test_real_numbers_from_file(network, tmp_path):
    real = np.random.default_rng(0).normal(0, 200, (5, 24))
    found = read(network, input_file=save(tmp_path, real))
    expected = quantise(torch.from_numpy(real), network.input_radix, network.activation_width)
    assert np.array_equal(found.vectors, expected.numpy())
    assert found.vectors.max() == 32767


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 23), int), r"must be of shape \(n, 24\) for network 'random', not \(2, 23\)"),
        (np.zeros(23, int), r"must be of shape \(n, 24\) for network 'random', not \(23,\)"),
        (np.zeros((0, 24), int), r"must be of shape \(n, 24\)"),
        (np.zeros((1, 1, 24), int), r"must be of shape \(n, 24\)"),
        (np.full((1, 24), 32768), "must lie within -32768 to 32767, not 32768 to 32768"),
        (np.full((1, 24), np.nan), "must be finite"),
        (np.full((1, 24), np.longdouble("1e400")), "must be finite, as float64"),
        (np.zeros((1, 24), complex), "must hold integers or real numbers, not complex128"),
    ],
)
def test_wrong_array(network, tmp_path, array, message):
    with pytest.raises(DataError, match=f"x.npy: {message}"):
        read(network, input_file=save(tmp_path, array))


def test_pickle_is_refused(network, tmp_path):
    with pytest.raises(DataError, match=r"must be a file that numpy.save wrote"):
        read(network, input_file=save(tmp_path, np.array([{}], object)))


def test_wrong_file(network, tmp_path):
    path = tmp_path / "x.npy"
    for content in b"", b"text", b"\x93NUMPY\x01\x00":
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"must be a file that numpy.save wrote"):
            read(network, input_file=path)
    archive = tmp_path / "x.npz"
    np.savez(archive, x=np.zeros((1, 24), int))
    with pytest.raises(DataError, match="must be one array"):
        read(network, input_file=archive)


def test_what_is_no_file(network, tmp_path):
    pipe = tmp_path / "x.npy"
    os.mkfifo(pipe)
    with pytest.raises(DataError, match=r"x.npy: must be a file$"):
        read(network, input_file=pipe)


def test_data_set_of_another_size(network):
    with pytest.raises(DataError, match=r"has 64 pixels a picture, but network 'random' takes 24"):
        read(network, dataset="digits")


def test_accuracy():
    outputs = np.array([[1, 2], [3, 3], [5, 4], [0, -1]])
    assert accuracy(outputs, np.array([1, 0, 1, 0])) == 0.75
    assert accuracy(outputs, None) is None
