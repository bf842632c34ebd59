import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from torch.nn import functional

from golden.compress.share import codebook_gradient, k_means, linear_start, share


def pruned_weights(seed, count=4000):
    """Weights as pruning leaves them: two humps, none near zero."""
    values = np.random.default_rng(seed).standard_normal(4 * count)
    return values[np.argsort(-np.abs(values))[:count]]


def judge(values, start):
    """scikit-learn's answer, from the same start."""
    model = KMeans(len(start), init=start[:, None], n_init=1, max_iter=300, tol=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(values[:, None])
    return model.cluster_centers_[:, 0], model.labels_


def even_spread(seed):
    return np.random.default_rng(seed).uniform(-3, 5, 2000)


@pytest.mark.parametrize(
    # None of these starts leaves a cluster empty, where scikit-learn goes its own way.
    ("make", "count"),
    [
        (even_spread, 2),
        (even_spread, 3),
        (even_spread, 7),
        (pruned_weights, 4),
        (pruned_weights, 6),
    ],
)
@pytest.mark.parametrize("seed", range(2))
def test_matches_scikit_learn(make, count, seed):
    values = make(seed)
    start = linear_start(values, count)
    centroids, labels = k_means(values, start)
    want_centroids, want_labels = judge(values, start)
    np.testing.assert_allclose(centroids, want_centroids, rtol=1e-9)
    np.testing.assert_array_equal(labels, want_labels)


@given(
    st.lists(st.integers(-20, 20), min_size=1, max_size=30),
    st.lists(st.integers(-25, 25), min_size=1, max_size=6).map(sorted),
)
def test_end_is_a_fixed_point(values, start):
    """Every value is at its nearest centroid, and every centroid at the mean of its values."""
    values = np.array(values, dtype=float)
    centroids, labels = k_means(values, np.array(start, dtype=float))
    assert (np.diff(centroids) >= 0).all()
    distances = np.abs(values[:, None] - centroids)
    chosen = distances[range(len(values)), labels]
    np.testing.assert_allclose(chosen, distances.min(axis=1), atol=1e-9)
    for index, centroid in enumerate(centroids):
        if (labels == index).any():
            assert centroid == pytest.approx(values[labels == index].mean(), abs=1e-9)


def test_offset_costs_no_precision():
    values = pruned_weights(0)
    start = linear_start(values, 7)
    _, labels = k_means(values, start)
    _, shifted = k_means(values + 2**20, start + 2**20)
    np.testing.assert_array_equal(labels, shifted)


def test_wrong_arguments():
    with pytest.raises(ValueError, match=r"^values must not be empty$"):
        k_means(np.array([]), np.array([1.0]))
    with pytest.raises(ValueError, match=r"^start must ascend, not array\(\[2\., 1\.\]\)$"):
        k_means(np.array([1.0]), np.array([2.0, 1.0]))


@pytest.mark.parametrize("bits", [2, 3, 4, 6, 8])
def test_share(bits):
    weights = torch.from_numpy(pruned_weights(bits).reshape(40, 100)).float()
    mask = torch.rand(40, 100, generator=torch.Generator().manual_seed(bits)) < 0.3
    codes, codebook = share(weights, mask, bits)
    assert codebook.shape == (2**bits,)
    assert codebook[0] == 0
    assert (codebook[1:].diff() >= 0).all()
    assert torch.equal(codes > 0, mask)
    assert codes.max() <= 2**bits - 1
    # Each weight has become the nearest of the shared values.
    nearest = (weights[mask][:, None] - codebook[1:]).abs().min(dim=1).values
    error = (weights - codebook[codes])[mask].abs()
    torch.testing.assert_close(error, nearest, atol=1e-6, rtol=0)


def test_few_values_are_kept_as_they_are():
    weights = torch.tensor([[0.5, -0.25, 0.5, 0.125]])
    codes, codebook = share(weights, torch.ones(1, 4, dtype=torch.bool), 8)
    assert torch.equal(codebook[codes], weights)


def test_share_wrong():
    with pytest.raises(ValueError, match=r"^bits must be 2 to 8, not 9$"):
        share(torch.ones(1, 1), torch.ones(1, 1, dtype=torch.bool), 9)
    with pytest.raises(ValueError, match=r"^mask must keep at least one weight$"):
        share(torch.ones(1, 1), torch.zeros(1, 1, dtype=torch.bool), 2)


def test_gradient_matches_autograd():
    """Against a network whose weights are looked up in the codebook, so that autograd sums."""
    source = torch.Generator().manual_seed(1)
    codes = torch.randint(8, (5, 9), generator=source)
    codebook = torch.randn(8, generator=source, requires_grad=True)
    x = torch.randn(16, 9, generator=source)
    y = torch.randint(5, (16,), generator=source)

    # Code 0 is no weight, whatever the codebook says.
    looked_up = torch.where(codes > 0, codebook[codes], 0)
    functional.cross_entropy(x @ looked_up.T, y).backward()

    free = looked_up.detach().requires_grad_()
    functional.cross_entropy(x @ free.T, y).backward()
    torch.testing.assert_close(codebook_gradient(free.grad, codes, 8), codebook.grad)
    assert codebook.grad[1:].abs().min() > 0
