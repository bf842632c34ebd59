"""Tables of the benches of trained convolutional networks, and how one judges."""

import torch

from bench import digit_recognizer, squeezenet


def test_seen():
    outputs = torch.zeros(2, 1000)
    outputs[0, 285], outputs[1, 3] = 10, 20
    found = squeezenet.seen(outputs)
    assert [one["class"] for one in found.values()] == [285, 3]
    assert 0.9 < found["chelsea"]["probability"] < found["coffee"]["probability"] <= 1


def test_table_of_squeezenet():
    seen = {"chelsea": {"class": 285, "probability": 0.5}, "coffee": {"class": 9, "probability": 1}}
    document = {
        "file": "x.net",
        "published_bytes": 5000,
        "dense_bytes": 100_000,
        "classes": squeezenet.CLASSES,
        "rows": [
            {"arithmetic": "float32", "bytes": None, "seen": seen},
            {"arithmetic": "golden, 8 bits", "bytes": 4000, "seen": seen},
        ],
        "seconds": 1.0,
    }
    lines = squeezenet.table(document).splitlines()
    assert len({len(line) for line in lines[2:]}) == 1
    assert lines[-1].split() == ["golden,", "8", "bits", "4,000", "285", "(0.500)", "9", "(1.000)"]


def test_table_of_digit_recognizer():
    row = {
        "image": "a",
        "budget": 0.002,
        "bits": 6,
        "density": 0.3,
        "bytes": 90_000,
        "ratio": 17.4,
        "validation": 0.994,
        "accuracy": 0.9885,
    }
    document = {
        "activation_width": 16,
        "weight_width": 16,
        "pictures": 10_000,
        "reference": {"accuracy": 0.9906, "validation": 0.996, "bytes": 1_564_968},
        "tolerance": 0.3,
        "rows": [row, {**row, "image": "b"}],
        "best": "b",
        "seconds": 100.0,
    }
    lines = digit_recognizer.table(document).splitlines()
    assert lines[4].split()[:4] == ["0.002", "6", "30.0", "%"]
    assert [line.endswith("best") for line in lines[4:6]] == [False, True]
