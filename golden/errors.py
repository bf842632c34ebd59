"""Errors that the project raises on purpose, each with the exit code of the command it ends."""

__all__ = [
    "DataError",
    "DeviceError",
    "FitError",
    "ImageError",
    "MismatchError",
    "PrunusError",
    "RecipeError",
    "ToolError",
    "UnsupportedError",
    "brief",
]


class PrunusError(Exception):
    """Base of the errors whose message is meant for the user, without a traceback."""

    exit_code = 2


class ImageError(PrunusError):
    """An image is damaged or inconsistent; the message names the layer and the field."""


class RecipeError(PrunusError):
    """A recipe of compression is wrong; the message names the key."""


class UnsupportedError(PrunusError):
    """A network has layers that a machine cannot run; the message names them."""


class DataError(PrunusError):
    """A file or a data set is missing or damaged."""


class MismatchError(PrunusError):
    """Two machines that must give the same bits do not; the message says where first."""

    exit_code = 1


class ToolError(PrunusError):
    """A tool is missing or failed; the message ends with the command that installs it."""

    exit_code = 3


class FitError(PrunusError):
    """A network does not fit a device; the message names what is too small."""

    exit_code = 4


class DeviceError(PrunusError):
    """A device, real or simulated, does not answer; the message says what was waited for."""

    exit_code = 5


def brief(value: object) -> str:
    """How a message quotes a value that may be of any type and size.

    Examples
    --------
    >>> brief("1.0"), brief(["1.0"] * 1000)
    ("'1.0'", 'a list')
    """
    if isinstance(value, str | int | float | None):
        text = repr(value)
        return text if len(text) <= 100 else f"{text[:97]}..."
    return f"a {type(value).__name__}"
