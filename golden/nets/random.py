"""Random networks: small ones for tests, large ones for measurements."""

import math
from itertools import pairwise

import numpy as np

from golden.image import FullyConnected, Network

__all__ = ["random_network", "random_pairs"]


def random_pairs(
    rng: np.random.Generator, low: int, high: int, shape: tuple[int, int, int, int]
) -> np.ndarray:
    """Random numbers of which one of each pair of channels has none, at each position.

    Parameters
    ----------
    rng : numpy.random.Generator
    low, high : int
        Bounds.
    shape : tuple of int, ``(kernels, channels, rows, columns)``
        With an even number of channels.

    Returns
    -------
    ndarray of int64, ``shape``

    Examples
    --------
    >>> numbers = random_pairs(np.random.default_rng(0), -8, 7, (2, 4, 4, 4))
    >>> bool((numbers[:, 0::2] * numbers[:, 1::2]).any())
    False
    """
    numbers = rng.integers(low, high, shape, endpoint=True)
    second = rng.integers(0, 2, (shape[0], shape[1] // 2, *shape[2:]))
    return numbers * np.stack([1 - second, second], axis=2).reshape(shape)


def random_network(
    rng: np.random.Generator,
    shape: tuple[int, ...] = (24, 16, 10),
    density: float = 0.25,
    code_width: int = 4,
    activation_width: int = 16,
) -> Network:
    """A network of random weights, scaled so that activations neither vanish nor all saturate.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness: the same seed gives the same network.
    shape : tuple of int
        Number of inputs, then of outputs of each layer.
    density : float
        Chance of a weight to be non-zero, 0 to 1.
    code_width : int
        Bits of a weight's code, 2 to 8.
    activation_width : int
        Bits of an activation, 8 or 16.

    Returns
    -------
    Network
        Hidden layers have a rectifier, the last has none. There are no known answers.

    Examples
    --------
    >>> network = random_network(np.random.default_rng(0), shape=(784, 300, 10), density=0.1)
    >>> [layer.shape for layer in network.layers]
    [(300, 784), (10, 300)]
    """
    layers = []
    radix = activation_width // 2
    for index, (inputs, outputs) in enumerate(pairwise(shape)):
        codes = _codes(rng, outputs, inputs, density, code_width)
        codebook = _codebook(rng, code_width)
        # A row adds up about inputs * density products of a weight and an activation, at random
        # signs. What this exceeds the activations' own scale by is shifted out, no more.
        gain = float(np.abs(codebook).mean()) * math.sqrt(max(1.0, inputs * density))
        shift = max(0, round(math.log2(gain)))
        spread = min(2 ** (activation_width - 3 + shift), 2**31 - 1)
        layers.append(
            FullyConnected.from_matrix(
                f"fc{index + 1}",
                codes,
                codebook=codebook,
                code_width=code_width,
                weight_radix=shift,
                bias=rng.integers(-spread, spread, outputs, dtype=np.int32),
                output_radix=radix,
                activation="none" if index == len(shape) - 2 else "relu",
            )
        )
    return Network("random", tuple(layers), activation_width, radix)


def _codes(
    rng: np.random.Generator, outputs: int, inputs: int, density: float, code_width: int
) -> np.ndarray:
    codes = rng.integers(1, 2**code_width, (outputs, inputs), dtype=np.uint8, endpoint=False)
    codes[rng.random((outputs, inputs), dtype=np.float32) >= density] = 0
    return codes


def _codebook(rng: np.random.Generator, code_width: int) -> np.ndarray:
    """Zero, then distinct weights in ascending order, as clustering leaves them."""
    weights = np.sort(rng.normal(0, 8192, 2**code_width - 1).clip(-32768, 32767))
    return np.concatenate([[0], weights]).astype(np.int16)
