"""Which device is meant: a preset, or a TOML file with the parameters of one."""

import difflib
import re
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

from golden.errors import PrunusError
from golden.files import LARGEST_TEXT, check_file
from hdl.configuration import PRESETS, Configuration

__all__ = ["DeviceFileError", "device_file", "find_device", "parse_device"]

_KEYS = {field.name: field.default for field in fields(Configuration)}
# What is wrong with a value by itself, rather than together with another one.
_ALONE = re.compile(r"must be (a positive integer|\d+ to \d+), not")


class DeviceFileError(PrunusError):
    """There is no such device, or its file is wrong; the message lists all that is."""


def device_file(name: str) -> Path | None:
    """The file that :func:`find_device` reads, or None if ``name`` is a preset."""
    return None if name in PRESETS else Path(name)


def find_device(name: str) -> Configuration:
    """The preset ``name``, or the device in the file of that name.

    Parameters
    ----------
    name : str
        A key of :data:`hdl.configuration.PRESETS`, or the path of a TOML file whose keys are
        fields of :class:`hdl.configuration.Configuration`. What it leaves out has its default.

    Raises
    ------
    DeviceFileError
        If there is no such device, or anything is wrong with its file.
    DataError
        If it is no file, or far too large.

    Examples
    --------
    >>> find_device("pe4").elements
    4
    """
    path = device_file(name)
    if path is None:
        return PRESETS[name]
    try:
        text = check_file(path, LARGEST_TEXT).read_text(encoding="utf-8")
    except OSError as error:
        raise DeviceFileError(
            f"device {name!r} must be one of {', '.join(PRESETS)}, or a TOML file: {error.strerror}"
        ) from error
    except UnicodeDecodeError as error:
        raise DeviceFileError(f"{name} must be UTF-8: {error}") from error
    return parse_device(text, origin=name)


def parse_device(text: str, *, origin: str) -> Configuration:
    """The device that ``text`` describes, in TOML; ``origin`` is what a message calls it.

    Raises
    ------
    DeviceFileError
        If anything is wrong: all of it.

    Examples
    --------
    >>> parse_device("elements = 8", origin="device").elements
    8
    >>> parse_device("element = 8\\nqueue_depth = 1\\ncode_width = true", origin="device")
    Traceback (most recent call last):
    ...
    cli.device.DeviceFileError: device has 3 faults:
      element is unknown; did you mean elements?
      queue_depth must be 8 to 256, not 1
      code_width must be a positive integer, not True
    """
    try:
        values = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise DeviceFileError(f"{origin} must be TOML: {error}") from error
    problems = [_unknown(key) for key in values if key not in _KEYS]
    known = {key: value for key, value in values.items() if key in _KEYS}
    for key, value in known.items():
        message = _problem({key: value})
        if message is not None and _ALONE.search(message):
            problems.append(message)
    # Only values that are right by themselves can be held against each other.
    problems = problems or _clashes(known)
    if problems:
        faults = "1 fault" if len(problems) == 1 else f"{len(problems)} faults"
        raise DeviceFileError("\n  ".join([f"{origin} has {faults}:", *problems]))
    return Configuration(**known)


def _problem(values: dict[str, Any]) -> str | None:
    try:
        Configuration(**values)
    except (TypeError, ValueError) as error:
        return str(error)
    return None


def _clashes(values: dict[str, Any]) -> list[str]:
    """Everything that does not go together, by mending one fault after the other."""
    problems: list[str] = []
    values = dict(values)
    while (message := _problem(values)) is not None:
        problems.append(message)
        name = message.partition(" ")[0]
        for candidate in (_KEYS[name], *range(1, 257)):
            values[name] = candidate
            left = _problem(values)
            if left is None or left.partition(" ")[0] != name:
                break
        else:
            break
    return problems


def _unknown(key: str) -> str:
    near = difflib.get_close_matches(key, _KEYS, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(_KEYS)}"
    return f"{key} is unknown; {hint}"
