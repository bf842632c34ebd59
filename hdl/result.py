"""What leaves an accelerator."""

from amaranth import *
from amaranth.lib import data

__all__ = ["Result"]


class Result(data.StructLayout):
    """A block of the result.

    Parameters
    ----------
    configuration : :class:`~hdl.configuration.Configuration`
    """

    def __init__(self, configuration):
        c = configuration
        super().__init__(
            {
                "activations": data.ArrayLayout(signed(c.activation_width), c.scan_width),
                "last": 1,  # of the vector
            }
        )
