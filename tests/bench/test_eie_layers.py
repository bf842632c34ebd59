"""The bench on a small layer, and EIE's recurrence against one cycle after the other."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import eie_layers
from bench.eie_layers import Benchmark
from golden.errors import FitError, MismatchError
from golden.image import FullyConnected
from mapping import plan
from mapping.cycles import predict, useful

SMALL = Benchmark("small", 72, 45, 0.1, 0.4, 1.0, 1.5)


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setitem(eie_layers.BENCHMARKS, "small", SMALL)
    monkeypatch.setitem(eie_layers.FITTED, "small", (0.5, 0.3))


def layer_of(matrix):
    return FullyConnected.from_matrix(
        "fc",
        matrix.astype(np.uint8),
        codebook=np.arange(4, dtype=np.int16),
        code_width=2,
        weight_radix=0,
        bias=np.zeros(len(matrix), np.int32),
        output_radix=0,
        activation="none",
    )


def zeros_after(weights):
    """How many zeros come after the last weight."""
    return next((n for n, weight in enumerate(weights[::-1]) if weight), len(weights))


def entries_one_by_one(matrix, elements):
    """Entries of each element in each column."""
    counts = [[0] * matrix.shape[1] for _ in range(elements)]
    for element in range(elements):
        for column in range(matrix.shape[1]):
            zeros = 0
            for weight in matrix[element::elements, column]:
                if weight or zeros == 15:
                    counts[element][column] += 1
                    zeros = 0
                else:
                    zeros += 1
            # Nothing pads what comes after the last weight.
            counts[element][column] -= zeros_after(matrix[element::elements, column]) // 16
    return counts


@given(
    st.integers(0, 2**32),
    st.integers(1, 70),
    st.integers(1, 30),
    st.integers(1, 5),
    st.sampled_from([0.02, 0.2, 0.7]),
)
def test_entries_of_eie(seed, rows, columns, elements, density):
    rng = np.random.default_rng(seed)
    matrix = rng.random((rows, columns)) < density
    found = eie_layers.eie_entries(layer_of(matrix), elements)
    assert found.tolist() == entries_one_by_one(matrix, elements)


def recurrence(counts, vector, depth):
    """The recurrence as it is written down, without shortcuts."""
    elements = len(counts)
    active = [column for column in range(len(vector)) if vector[column]]
    t, s, f = [], [], []
    for j, column in enumerate(active):
        earliest = 1 + (t[-1] if j else 0)
        groups = {one // elements for one in active}
        last = active[j - 1] // elements if j else -1
        earliest += sum(group not in groups for group in range(last + 1, column // elements))
        if j >= depth:
            earliest = max(earliest, max(s[j - depth]) + 1)
        t.append(earliest)
        s.append([max(t[j] + 1, f[j - 1][i] if j else 0) for i in range(elements)])
        f.append([s[j][i] + max(counts[i][column], 1) for i in range(elements)])
    return (max(f[-1]) if f else 0) + 6


@given(
    st.integers(0, 2**32),
    st.integers(1, 40),
    st.integers(1, 4),
    st.integers(1, 5),
    st.sampled_from([0.05, 0.3, 1.0]),
)
def test_cycles_of_eie(seed, columns, elements, depth, activity):
    rng = np.random.default_rng(seed)
    matrix = rng.random((20, columns)) < 0.3
    vectors = rng.random((2, columns)) < activity
    counts = entries_one_by_one(matrix, elements)
    found = eie_layers.eie_cycles(np.array(counts), vectors, depth)
    assert found.tolist() == [recurrence(counts, vector, depth) for vector in vectors]
    mean = eie_layers.eie_theoretical_cycles(np.array(counts), vectors)
    active = [
        sum(counts[i][j] for i in range(elements) for j in np.flatnonzero(v)) for v in vectors
    ]
    assert mean.tolist() == [entries / elements for entries in active]


def test_entropy():
    """Of 4 codes in equal shares, and gaps that are 0 three times and 2 once."""
    codes = np.array([[1, 2, 0, 0, 3, 4, 0, 0]], np.uint8)
    layer = FullyConnected.from_matrix(
        "fc",
        codes,
        codebook=np.arange(8, dtype=np.int16),
        code_width=3,
        weight_radix=0,
        bias=np.zeros(1, np.int32),
        output_radix=0,
        activation="none",
    )
    assert eie_layers.entropy(layer) == pytest.approx(2 + 0.75 * np.log2(4 / 3) + 0.25 * 2)


@pytest.mark.parametrize("kind", eie_layers.SETS)
def test_networks_are_as_dense_as_said(kind):
    benchmark = dataclasses.replace(SMALL, inputs=2000, outputs=500)
    (layer,) = eie_layers.make_network(benchmark, kind, seed=1).layers
    assert layer.shape == (500, 2000)
    assert layer.density == pytest.approx(0.1, rel=0.05)
    rows = np.bincount(layer.rows, minlength=500)
    chance = np.sqrt(2000 * 0.1 * 0.9)
    assert (rows.std() > 3 * chance) == (kind == "log-normal")
    again = eie_layers.make_network(benchmark, kind, seed=1)
    assert np.array_equal(layer.codes, again.layers[0].codes)
    inputs = eie_layers.make_inputs(benchmark, 5, seed=1)
    assert (inputs != 0).mean() == pytest.approx(0.4, rel=0.05)


def eie_times(benchmark, vectors=16):
    """Theoretical and actual times of 64 elements of EIE in microseconds."""
    (layer,) = eie_layers.make_network(benchmark, "fitted", seed=0).layers
    nonzero = eie_layers.make_inputs(benchmark, vectors, seed=0) != 0
    entries = eie_layers.eie_entries(layer, 64)
    cycles = (
        eie_layers.eie_theoretical_cycles(entries, nonzero),
        eie_layers.eie_cycles(entries, nonzero, 7),
    )
    return [one.mean() / 800 for one in cycles]


@pytest.mark.parametrize("name", ["Alex-8", "VGG-8", "NT-We", "NT-Wd", "NT-LSTM"])
def test_eie_takes_the_published_times_on_fitted_layers(name):
    """Of those that are made quickly."""
    benchmark = eie_layers.benchmark_of(name, "fitted")
    times = [round(time, 1) for time in eie_times(benchmark)]
    assert times == [benchmark.theoretical, benchmark.actual]


def test_fitted_layers_are_those_of_table_iii_otherwise():
    assert eie_layers.FITTED.keys() == eie_layers.BENCHMARKS.keys()
    for name, published in eie_layers.BENCHMARKS.items():
        one = eie_layers.benchmark_of(name, "fitted")
        kept = {"activity": published.activity, "density": published.density}
        assert 0 < one.spread
        assert published.free == ("density" if published.activity == 1 else "activity")
        changed = {published.free: kept[published.free], "spread": 0.0}
        assert dataclasses.replace(one, **changed) == published
        assert eie_layers.benchmark_of(name, "uniform") == published


@pytest.mark.parametrize(("activity", "density", "spread"), [(0.3, 0.1, 0.4), (1.0, 0.12, 0.3)])
def test_a_fit_finds_what_data_were_made_of(activity, density, spread):
    true = Benchmark("one", 200, 640, density, activity, 1.0, 1.0, spread=spread)
    theoretical, actual = eie_times(true, vectors=4)
    published = dataclasses.replace(true, theoretical=theoretical, actual=actual, spread=0.0)
    published = dataclasses.replace(published, **{true.free: 1.2 * getattr(true, true.free)})
    found, *times = eie_layers.fit(published, vectors=4, seed=0)
    assert getattr(found, true.free) == pytest.approx(getattr(true, true.free), rel=0.02)
    assert found.spread == pytest.approx(spread, abs=0.05)
    assert times == pytest.approx([theoretical, actual], rel=0.01)
    assert times == eie_times(found, vectors=4)
    text = eie_layers.nearness([(dataclasses.replace(found, name="NT-We"), *times)])
    assert f"{times[1]:.2f}" in text


def test_a_fit_that_cannot_be():
    published = Benchmark("one", 200, 640, 0.1, 0.3, 1.0, 50.0)
    message = r"^one: with no density and spread EIE takes 1\.0 us \(theoretical\); the nearest is "
    with pytest.raises(FitError, match=message):
        eie_layers.fit(published, vectors=2, seed=0)


@pytest.mark.parametrize("elements", [4, 16])
def test_balanced_networks_are_even(elements):
    benchmark = dataclasses.replace(SMALL, inputs=1500, outputs=301)
    (layer,) = eie_layers.make_network(benchmark, eie_layers.BALANCED, 1, elements).layers
    assert layer.nonzeros == elements * round(0.1 * 1500 * 301 / elements)
    matrix = layer.dense() != 0
    counts = np.array([matrix[one::elements].sum(axis=0) for one in range(elements)])
    assert (counts == counts[0]).all()
    assert counts[0].max() - counts[0].min() == 1
    # Weights are anywhere, and columns with more of them too.
    assert (matrix.sum(axis=1) > 0.05 * 1500).all()
    assert counts[0, :750].mean() == pytest.approx(counts[0, 750:].mean(), rel=0.1)
    again = eie_layers.make_network(benchmark, eie_layers.BALANCED, 1, elements).layers[0]
    assert np.array_equal(layer.rows, again.rows)


def test_all_weights_of_a_balanced_network():
    benchmark = dataclasses.replace(SMALL, density=1.0)
    (layer,) = eie_layers.make_network(benchmark, eie_layers.BALANCED, 0, 5).layers
    assert layer.density == 1


def test_slices_are_the_layer(monkeypatch):
    monkeypatch.setattr(eie_layers, "ROW_DEPTH", 8)
    network = eie_layers.make_network(SMALL, "uniform", seed=0)
    parts = eie_layers.slices(network, 2)
    assert len(parts) == 3
    whole = np.concatenate([part.layers[0].dense() for part in parts])
    assert np.array_equal(whole, network.layers[0].dense())
    assert np.array_equal(
        np.concatenate([part.layers[0].bias for part in parts]), network.layers[0].bias
    )


def measured(kind="log-normal"):
    return eie_layers.measure(
        ["small"], elements=2, kind=kind, vectors=3, seed=0, log=lambda line: None
    )


@pytest.mark.parametrize("kind", ["log-normal", "fitted"])
def test_a_small_layer_on_the_rtl(small, kind):
    document = json.loads(json.dumps(measured(kind)))
    (row,) = document["layers"]
    (device,) = document["devices"]
    benchmark = eie_layers.benchmark_of("small", kind)
    network = eie_layers.make_network(benchmark, kind, seed=0)
    nonzero = eie_layers.make_inputs(benchmark, 3, seed=0) != 0
    (layer,) = network.layers
    per_column = (layer.dense() != 0).sum(axis=0)
    assert row["ideal_cycles"] == pytest.approx((nonzero * per_column).sum(axis=1).mean() / 2)
    assert row["ratio"] < 1
    assert row["cycles"] > row["stream_cycles"] > row["ideal_cycles"]
    assert row["stream_ratio"] == pytest.approx(row["ideal_cycles"] / row["stream_cycles"])
    entries_of_eie = eie_layers.eie_entries(layer, 2)
    assert row["eie_cycles"] == eie_layers.eie_cycles(entries_of_eie, nonzero, 7).mean()
    assert row["eie_theoretical_cycles"] == pytest.approx(
        (nonzero * entries_of_eie.sum(axis=0)).sum(axis=1).mean() / 2
    )
    assert document["geomean_speedup"] == pytest.approx(row["speedup"])
    assert row["eie_published_cycles"] is None
    assert row["padding"] + row["starved"] == pytest.approx(1 - row["ideal_cycles"] / row["cycles"])
    entries = round((1 + row["escapes"]) * layer.nonzeros)
    least = entries * device["entry_width"] + 2 * 72 * device["count_width"]
    # Each element has an even number of entries.
    assert 0 <= row["bits_per_nonzero"] * layer.nonzeros - least <= 2 * device["entry_width"] + 1
    assert row["image_bits_per_nonzero"] > row["entropy"]
    assert document["geomean_ratio"] == pytest.approx(row["ratio"])
    text = eie_layers.table(document)
    assert f"{row['cycles']:.0f}" in text
    assert "small" in text


@pytest.mark.parametrize("ways", [1, 2])
def test_a_balanced_layer_waits_for_the_pipeline_only(ways):
    benchmark = dataclasses.replace(SMALL, inputs=600, outputs=160, activity=1.0, ways=ways)
    network = eie_layers.make_network(benchmark, eie_layers.BALANCED, 0, 16)
    laid = plan(network, eie_layers.configuration(benchmark, 16), activity=[1.0])
    inputs = [eie_layers.make_inputs(benchmark, 3, 0)]
    waits = predict(laid, inputs).cycles - useful(laid, inputs) / 16
    assert (waits == 13 + ways).all()


@pytest.mark.parametrize(
    ("model", "where"),
    [("predict", "vector 0"), ("predict_stream", "all vectors, back to back")],
)
def test_what_differs_from_the_prediction_is_an_error(small, monkeypatch, model, where):
    predict = getattr(eie_layers, model)

    def wrong(laid, activations):
        found = predict(laid, activations)
        return dataclasses.replace(found, cycles=found.cycles + 1)

    monkeypatch.setattr(eie_layers, model, wrong)
    with pytest.raises(MismatchError, match=f"{where}: the RTL takes"):
        measured()


def test_counts_fit_the_device(small):
    (device,) = measured()["devices"]
    laid = plan(
        eie_layers.make_network(SMALL, "log-normal", seed=0), eie_layers.configuration(SMALL, 2)
    )
    most = laid.layers[0].entries.counts.max()
    assert most < 2 ** device["count_width"] <= 2 * max(2, most)


def test_sweeps_and_their_picture(small, monkeypatch, tmp_path):
    monkeypatch.setattr(eie_layers, "ELEMENTS", (2, 4))
    monkeypatch.setattr(eie_layers, "ROW_DEPTH", 8)
    points = list(eie_layers.sweeps(["small"], elements=2, kind="uniform", vectors=2, seed=0))
    assert (
        len(points)
        == len(set(points))
        == len(eie_layers.EIE_DEPTHS) + len(eie_layers.DEPTHS) + 2 * 2
    )
    assert all(0 < ratio < 1 for *_, ratio in points)
    eie_layers.draw(points, elements=2, kind="uniform", path=tmp_path / "sweeps.png")
    assert (tmp_path / "sweeps.png").stat().st_size > 10_000
