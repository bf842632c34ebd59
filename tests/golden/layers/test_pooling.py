import pytest

from golden.errors import ImageError
from golden.layers import AveragePooling, MaxPooling

SAME = {"name": "pool", "output_radix": 0, "activation": "none"}


@pytest.mark.parametrize(
    ("kind", "fields", "message"),
    [
        (MaxPooling, {"kernel": 2}, r"kernel must be 2 integers from 1 to 1024, not 2"),
        (
            MaxPooling,
            {"padding": (2, 0, 0, 0)},
            r"padding must be less than the kernel of \(2, 3\)",
        ),
        (
            MaxPooling,
            {"padding": (0, 0, 0, 3)},
            r"padding must be less than the kernel of \(2, 3\)",
        ),
        (MaxPooling, {"ceil_mode": 1}, r"ceil_mode must be True or False, not 1"),
        (AveragePooling, {"ceil_mode": None}, r"ceil_mode must be True or False, not None"),
        (AveragePooling, {"count_padding": 0}, r"count_padding must be True or False, not 0"),
        (AveragePooling, {"weight_radix": 32}, r"weight_radix must be an integer from 0 to 31, no"),
        (
            AveragePooling,
            {"weight_radix": 2},
            r"weight_radix must be at least 3 for windows of 6 activations, not 2",
        ),
    ],
)
def test_wrong_pooling(kind, fields, message):
    own = {"weight_radix": 8} if kind is AveragePooling else {}
    with pytest.raises(ImageError, match=f"^layer 'pool': {message}"):
        kind(**SAME | own | {"kernel": (2, 3)} | fields)


@pytest.mark.parametrize(
    ("length", "fields", "floor", "ceil"),
    [
        (6, {"kernel": (2, 1), "stride": (2, 1)}, 3, 3),
        (7, {"kernel": (2, 1), "stride": (2, 1)}, 3, 4),
        (109, {"kernel": (3, 1), "stride": (2, 1)}, 54, 54),
        (54, {"kernel": (3, 1), "stride": (2, 1)}, 26, 27),
        # The window that rounding up would add starts in the padding at the end.
        (4, {"kernel": (2, 1), "stride": (3, 1), "padding": (1, 0, 1, 0)}, 2, 2),
        (2, {"kernel": (1, 1), "stride": (3, 1)}, 1, 1),
        (1, {"kernel": (2, 1), "stride": (3, 1), "padding": (1, 0, 1, 0)}, 1, 1),
    ],
)
def test_windows_are_as_many_as_in_pytorch(length, fields, floor, ceil):
    import torch
    from torch.nn import functional

    for mode, count in (False, floor), (True, ceil):
        pool = MaxPooling(**SAME, **fields, ceil_mode=mode)
        assert pool.output_shape((length, 2, 5))[0] == count
        found = functional.max_pool2d(
            torch.zeros((1, 5, length, 2)),
            pool.kernel,
            pool.stride,
            pool.padding[:2],
            ceil_mode=mode,
        )
        assert found.shape[2] == count


def test_windows_beyond_a_small_map():
    """Rounding up lets a window in that the map is too small for."""
    fields = {"kernel": (3, 3), "stride": (2, 2)}
    assert MaxPooling(**SAME, **fields, ceil_mode=True).output_shape((2, 2, 1)) == (1, 1, 1)
    with pytest.raises(ImageError, match=r"^layer 'pool': kernel must fit its source of shape"):
        MaxPooling(**SAME, **fields).output_shape((2, 2, 1))
    with pytest.raises(ImageError, match=r"^layer 'pool': kernel must fit its source of shape"):
        MaxPooling(**SAME, **fields, ceil_mode=True).output_shape((1, 2, 1))


def test_areas():
    fields = {"kernel": (3, 3), "stride": (2, 2), "padding": (1, 1, 1, 1), "ceil_mode": True}
    pool = AveragePooling(**SAME, **fields, weight_radix=8)
    assert pool.areas((4, 5, 1)) == ([2, 3, 1], [2, 3, 2])
    pool = AveragePooling(**SAME, **fields, weight_radix=8, count_padding=True)
    assert pool.areas((4, 5, 1)) == ([3, 3, 2], [3, 3, 3])


def test_reciprocals():
    pool = AveragePooling(**SAME, kernel=(3, 3), weight_radix=10)
    assert [pool.reciprocal(area) for area in (1, 2, 3, 6, 9)] == [1024, 512, 341, 171, 114]
    assert (pool.accumulator_radix(-3), pool.accumulator_bits(8)) == (7, 19)
