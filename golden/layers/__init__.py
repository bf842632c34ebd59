"""What a compressed network consists of: layers of several kinds, and how they are joined."""

from golden.layers.base import Layer, Shape, Windowed
from golden.layers.check import (
    ACTIVATIONS,
    MAX_ACTIVATIONS,
    MAX_KERNEL,
    MAX_LAYERS,
    MAX_NAME,
    MAX_NONZEROS,
    MAX_PADDING,
    MAX_SHIFT,
    MAX_SIDE,
    MAX_SOURCES,
    MAX_TENSOR,
)
from golden.layers.joining import Addition, Concatenation
from golden.layers.network import Network
from golden.layers.pooling import AveragePooling, MaxPooling, Pooling
from golden.layers.weighted import Convolution, FullyConnected, Weighted

__all__ = [
    "ACTIVATIONS",
    "MAX_ACTIVATIONS",
    "MAX_KERNEL",
    "MAX_LAYERS",
    "MAX_NAME",
    "MAX_NONZEROS",
    "MAX_PADDING",
    "MAX_SHIFT",
    "MAX_SIDE",
    "MAX_SOURCES",
    "MAX_TENSOR",
    "Addition",
    "AveragePooling",
    "Concatenation",
    "Convolution",
    "FullyConnected",
    "Layer",
    "MaxPooling",
    "Network",
    "Pooling",
    "Shape",
    "Weighted",
    "Windowed",
]
