"""Files on the disk: read only if they are files, and written whole or not at all."""

import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path

from golden.errors import DataError

__all__ = ["LARGEST_TEXT", "check_file", "write_whole"]

# Far above what describes a device or a recipe.
LARGEST_TEXT = 1 << 20


def check_file(path: Path, most: int) -> Path:
    """``path``, if it can be read whole: it has an end, and no more than ``most`` bytes.

    A device may have none, and a pipe may wait for ever.

    Raises
    ------
    DataError
        If it is no regular file, or has more than ``most`` bytes.
    OSError
        If there is no such file.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{path}: must be a file")
    if status.st_size > most:
        raise DataError(f"{path}: must have at most {most} bytes, not {status.st_size}")
    return path


def write_whole(contents: Mapping[Path, bytes | str]) -> None:
    """Write files at once: if anything goes wrong, what was there before stays.

    The bytes go to temporary files beside them. These take the names when all are on the disk.

    Parameters
    ----------
    contents : mapping of Path to bytes or str
        All of each file; text becomes UTF-8.

    Raises
    ------
    OSError
        If a file cannot be written. It has the name of that file.
    """
    temporaries: dict[Path, Path] = {}
    try:
        for path, content in contents.items():
            temporaries[path] = path.with_name(f".{secrets.token_hex(8)}.tmp")
            with temporaries[path].open("xb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
        for path, temporary in temporaries.items():
            temporary.replace(path)
    except OSError as error:
        # The temporary name says nothing to anybody.
        error.filename, error.filename2 = str(path), None
        raise
    finally:
        for temporary in temporaries.values():
            temporary.unlink(missing_ok=True)
