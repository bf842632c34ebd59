"""What a device has: the parameters that are fixed when its hardware is made."""

from dataclasses import dataclass, fields, replace

from hdl.winograd.parameters import Parameters

__all__ = ["PRESETS", "Configuration"]


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """Parameters of an accelerator. A network is data; a configuration is hardware.

    Raises
    ------
    TypeError
        If a parameter is not a positive integer.
    ValueError
        If a parameter is out of range, or does not go with another one.
    """

    elements: int = 16
    """Processing elements, each with one multiplier: 1 to 256."""
    scan_width: int = 4
    """Activations examined a cycle, and transferred a beat. Divides ``elements``."""
    ways: int = 1
    """Scans, each of which can have an equal share of the elements and of the columns to itself.
    A power of two; ``scan_width`` divides what one has of the elements."""
    activation_width: int = 16
    """Bits in an activation, two's complement: 8 to 16."""
    weight_width: int = 16
    """Bits in a codebook value, two's complement: 8 to 16."""
    accumulator_width: int = 36
    """Bits in a sum, two's complement. Sums are exact: what could overflow is refused."""
    code_width: int = 6
    """Bits in the widest code: 2 to 8."""
    entry_width: int = 9
    """Bits in an entry. What a layer's code leaves of it is the relative row."""
    count_width: int = 6
    """Bits in the number of entries that one element has in one column."""
    queue_depth: int = 32
    """Segments that wait in front of an element, so that uneven columns even out."""
    weight_depth: int = 4096
    """Entries in an element's memory. Even: two are read at a time."""
    column_depth: int = 2048
    """Columns, of all layers together, padded to ``scan_width``, whose counts an element holds.
    Each tile of a layer has all of them."""
    row_depth: int = 64
    """Rows that an element can accumulate at a time. A layer with more is in tiles."""
    codebook_depth: int = 256
    """Codebook values, of all layers together."""
    bias_depth: int = 1024
    """Biases, of all layers together, padded to ``elements``."""
    activation_depth: int = 1024
    """Activations in the longest result of a layer, padded to ``elements``, and, if the layer is in
    tiles, in what it scans as well. A vector of input may be longer, unless the first layer is; so
    may the last result be, if the last layer is."""
    layer_depth: int = 16
    """Layers in the longest program, each counted as often as it has tiles."""
    counter_width: int = 32
    """Bits in a counter."""
    map_depth: int = 0
    """Words of ``scan_width`` activations in the memory of feature maps; 0 for a device without
    them, which runs fully connected layers only."""
    map_reads: int = 0
    """Reads of feature maps that can be under way, if these are in memory outside; 0 if they are on
    the chip."""
    stage_depth: int = 64
    """Stages in the longest program, if there are feature maps."""
    winograd_tile: int = 0
    """Results on a side of a tile of the unit for 3x3 convolutions, 2 or 4; 0 for a device without
    one. It takes feature maps, and 4 takes activations of at most 11 bits."""
    winograd_kernels: int = 4
    """Output channels that it computes at a time: 1 to 16, of ``(winograd_tile + 2) ** 2``
    multipliers each."""
    winograd_channels: int = 64
    """Input channels, and output channels, of a layer that it can take."""
    winograd_windows: int = 2048
    """Blocks of ``winograd_tile ** 2`` activations of the input that it holds. A power of two."""
    winograd_depth: int = 8192
    """Items in the memory of its weights, of all layers together: a kernel's for a channel, a bias,
    or a value of a codebook."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value, least = getattr(self, field.name), min(1, _RANGES[field.name][0])
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                kind = "a positive integer" if least else "a positive integer or 0"
                raise TypeError(f"{field.name} must be {kind}, not {value!r}")
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name} must be {low} to {high}, not {value!r}")
        if self.ways & (self.ways - 1) or self.elements % self.ways:
            raise ValueError(
                f"ways must be a power of two that divides elements ({self.elements}), "
                f"not {self.ways!r}"
            )
        if self.way_elements % self.scan_width:
            raise ValueError(
                f"scan_width must divide the elements of a way ({self.way_elements}), "
                f"not {self.scan_width!r}"
            )
        if self.entry_width <= self.code_width:
            raise ValueError(
                f"entry_width must be more than code_width ({self.code_width}), "
                f"not {self.entry_width!r}"
            )
        for name, unit in (("weight_depth", 2), *((name, self.scan_width) for name in _BLOCKED)):
            value = getattr(self, name)
            if value % unit:
                raise ValueError(f"{name} must be a multiple of {unit}, not {value!r}")

        if 0 < self.map_depth < _LEAST:
            raise ValueError(f"map_depth must be 0 or at least {_LEAST}, not {self.map_depth!r}")
        if (self.map_reads and not self.map_depth) or self.map_reads == 1:
            raise ValueError(
                "map_reads must be 0, or at least 2 on a device with feature maps, "
                f"not {self.map_reads!r}"
            )
        if self.winograd_tile not in (0, *_PER_DRAIN):
            raise ValueError(f"winograd_tile must be 0, 2 or 4, not {self.winograd_tile!r}")
        if self.winograd_tile:
            if not self.map_depth:
                raise ValueError(
                    "winograd_tile must be 0 on a device without feature maps, "
                    f"not {self.winograd_tile!r}"
                )
            if self.winograd_windows & (self.winograd_windows - 1):
                raise ValueError(
                    f"winograd_windows must be a power of two, not {self.winograd_windows!r}"
                )
            if self.activation_width > _ACTIVATION_WIDTHS[self.winograd_tile]:
                raise ValueError(
                    f"activation_width must be at most {_ACTIVATION_WIDTHS[self.winograd_tile]} "
                    f"with a winograd_tile of {self.winograd_tile}, not {self.activation_width!r}"
                )
            self.winograd  # noqa: B018, checks what it is made of
        if not self.map_reads and self.map_depth > _ON_CHIP:
            raise ValueError(
                f"map_depth must be at most {_ON_CHIP} without map_reads, not {self.map_depth!r}"
            )

    @property
    def way_elements(self) -> int:
        """Elements of a way."""
        return self.elements // self.ways

    @property
    def stages(self) -> bool:
        """Whether programs have several stages, which exchange feature maps."""
        return self.map_depth > 0

    @property
    def winograd(self) -> Parameters | None:
        """The unit for 3x3 convolutions, or None."""
        if not self.winograd_tile:
            return None
        tile, kernels, channels = self.winograd_tile, self.winograd_kernels, self.winograd_channels
        # As many as do not hold up a layer of 12 channels.
        drains = -(-kernels // _PER_DRAIN[tile])
        stride = -(-channels // kernels) * -(-kernels // drains)
        return Parameters(
            tile=tile,
            kernels=kernels,
            drains=drains,
            activation_width=self.activation_width,
            weight_width=min(self.weight_width, _WEIGHT_WIDTHS[tile]),
            code_width=min(self.code_width, _CODE_WIDTH),
            sum_width=self.accumulator_width,
            window_depth=self.winograd_windows,
            channel_depth=channels,
            kernel_depth=channels,
            band_depth=_BAND,
            output_depth=1 << (2 * _BAND * stride - 1).bit_length(),
        )

    @property
    def groups(self) -> int:
        """Groups of ``scan_width`` elements that are drained one after another."""
        return self.elements // self.scan_width

    @property
    def vector_blocks(self) -> int:
        """Blocks in the longest vector that there are columns for: those of all ways."""
        return self.ways * self.column_depth // self.scan_width


# Parameters that are counted in activations and stored ``scan_width`` at a time.
_BLOCKED = ("column_depth", "bias_depth", "activation_depth")

# Words of feature maps, and those of the largest block RAM.
_LEAST, _ON_CHIP = 64, 1 << 16

# Of the unit for 3x3 convolutions: kernels to a drain and most bits of an activation and of a
# weight, by tile; bits of a code, and tiles that share a reading of weights.
_PER_DRAIN = {2: 3, 4: 2}
_ACTIVATION_WIDTHS = {2: 16, 4: 11}
_WEIGHT_WIDTHS = {2: 14, 4: 12}
_CODE_WIDTH, _BAND = 6, 16

_RANGES = {
    "elements": (1, 256),
    "scan_width": (1, 16),
    "ways": (1, 16),
    "activation_width": (8, 16),
    "weight_width": (8, 16),
    "accumulator_width": (24, 48),
    "code_width": (2, 8),
    "entry_width": (3, 16),
    "count_width": (2, 10),
    "queue_depth": (8, 256),
    "weight_depth": (8, 1 << 18),
    "column_depth": (4, 1 << 17),
    "row_depth": (2, 512),
    "codebook_depth": (4, 1 << 13),
    "bias_depth": (4, 1 << 16),
    "activation_depth": (4, 1 << 16),
    "layer_depth": (2, 256),
    "counter_width": (16, 32),
    "map_depth": (0, 1 << 20),
    "map_reads": (0, 64),
    "stage_depth": (2, 256),
    "winograd_tile": (0, 4),
    "winograd_kernels": (1, 16),
    "winograd_channels": (2, 512),
    "winograd_windows": (16, 1 << 16),
    "winograd_depth": (64, 1 << 16),
}

_CNN64 = Configuration(
    elements=64,
    scan_width=8,
    ways=4,
    weight_depth=1 << 14,
    column_depth=1 << 15,
    bias_depth=1 << 13,
    activation_depth=1 << 11,
    codebook_depth=1 << 13,
    code_width=8,
    entry_width=11,
    layer_depth=64,
    map_depth=1 << 18,
    map_reads=32,
)

# Each holds LeNet-300-100 at 8 % density, whose entries share out over the elements.
PRESETS = {
    "pe1": Configuration(elements=1, scan_width=1, weight_depth=1 << 15, row_depth=512),
    "pe4": Configuration(elements=4, weight_depth=1 << 13, row_depth=128),
    "pe16": Configuration(elements=16, scan_width=8, ways=2),
    "pe32": Configuration(elements=32, scan_width=8, ways=2, weight_depth=1 << 11),
    "pe64": Configuration(elements=64, scan_width=8, ways=2, weight_depth=1 << 11),
    # For convolutional networks: of digits, on the chip; like SqueezeNet, with memory outside.
    "cnn16": Configuration(
        elements=16,
        scan_width=8,
        ways=2,
        weight_depth=1 << 14,
        column_depth=1 << 14,
        bias_depth=1 << 11,
        layer_depth=32,
        map_depth=1 << 14,
    ),
    "cnn64": _CNN64,
    # The same with a unit for 3x3 convolutions, of 128 multipliers.
    "cnn64-f2": replace(
        _CNN64,
        winograd_tile=2,
        winograd_kernels=8,
        winograd_channels=256,
        winograd_windows=1 << 13,
        winograd_depth=1 << 15,
    ),
}
