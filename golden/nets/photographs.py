"""Photographs that scikit-image has inside its package, as networks of ImageNet take them."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["CALIBRATION", "photographs"]

CALIBRATION = ("astronaut", "brick", "camera", "coins", "hubble_deep_field", "retina", "rocket")
"""Photographs to choose radix points from; others are left to judge by."""

# Blue, green, red.
_MEANS = (104.0, 117.0, 123.0)


def photographs(names: Sequence[str], side: int) -> Tensor:
    """Photographs as Caffe's networks of ImageNet take them.

    The greatest square in the middle is brought to ``side`` pixels by bilinear interpolation.

    Parameters
    ----------
    names : sequence of str
        What :mod:`skimage.data` calls them.
    side : int
        Rows and columns.

    Returns
    -------
    Tensor of float32, ``(n, 3, side, side)``
        Blue, green and red: 0 to 255, less the means of ImageNet.

    Examples
    --------
    >>> photographs(["chelsea"], 227).shape
    torch.Size([1, 3, 227, 227])
    """
    import skimage.data

    return torch.cat([_prepared(getattr(skimage.data, name)(), side) for name in names])


def _prepared(picture: np.ndarray, side: int) -> Tensor:
    """One photograph, uint8 ``(height, width, 3)`` with red first, or grey ``(height, width)``."""
    picture = np.broadcast_to(np.atleast_3d(picture), (*picture.shape[:2], 3))
    height, width, _ = picture.shape
    size = min(height, width)
    top, left = (height - size) // 2, (width - size) // 2
    square = picture[top : top + size, left : left + size, ::-1].astype(np.float32)
    channels = torch.from_numpy(square).movedim(2, 0)[None]
    scaled = functional.interpolate(channels, (side, side), mode="bilinear", antialias=True)
    return scaled - torch.tensor(_MEANS)[:, None, None]
