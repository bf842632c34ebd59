"""Files that take long to make, kept under a digest of what they were made from."""

import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from golden.errors import PrunusError

__all__ = ["cached", "digest", "directory"]

# Seconds that another process may take to make a file, and between looks whether it has.
_LIMIT = 1800
_PAUSE = 0.1


def directory() -> Path:
    """Folder of the cache.

    It is ``$PRUNUS_CACHE_DIR``, or else ``prunus`` in ``$XDG_CACHE_HOME`` or in ``~/.cache``.
    """
    if own := os.environ.get("PRUNUS_CACHE_DIR"):
        return Path(own).absolute()
    home = os.environ.get("XDG_CACHE_HOME")
    # The XDG base directory specification has relative paths ignored.
    if home and Path(home).is_absolute():
        return Path(home) / "prunus"
    return Path.home() / ".cache" / "prunus"


def digest(*parts: str | bytes) -> str:
    """Digest of ``parts``: different where any of them differs."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        total.update(len(data).to_bytes(8, "little"))
        total.update(data)
    return total.hexdigest()[:32]


def cached(name: str, make: Callable[[Path, Path], Path]) -> Path:
    """The file ``name`` of the cache, made if it is not there.

    Parameters
    ----------
    name : str
        Name of the file, which has to contain a :func:`digest` of all that it depends on.
    make : callable
        Called with an empty folder for temporary use and the path of a log. Returns the path of
        the file in that folder. Only one process at a time makes a file.

    Raises
    ------
    PrunusError
        If the cache cannot be written, or another process makes the file and does not finish.
    """
    path = directory() / name
    if path.exists():
        return path
    log = path.with_suffix(".log")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Whoever makes the file holds the log, and lets go of it however it ends.
        with log.open("ab") as held:
            _hold(held, path)
            if not path.exists():
                held.truncate(0)
                for left in path.parent.glob(f"{path.stem}-*/"):
                    shutil.rmtree(left, ignore_errors=True)  # by a process that was killed
                folder = Path(tempfile.mkdtemp(prefix=f"{path.stem}-", dir=path.parent))
                try:
                    make(folder, log).rename(path)
                finally:
                    shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise _unwritable(error, path.parent) from error
    return path


def _hold(log: BinaryIO, path: Path) -> None:
    """Wait until no other process holds ``log``."""
    for _ in range(int(_LIMIT / _PAUSE)):
        try:
            return fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_PAUSE)
    raise PrunusError(f"another process has been making {path} for more than {_LIMIT} seconds")


def _unwritable(error: OSError, folder: Path) -> PrunusError:
    reason = os.strerror(error.errno) if error.errno else str(error)
    if error.errno == errno.ENOSPC:
        reason = "no space is left on the disk"
    return PrunusError(
        f"cannot write to the cache in {folder}: {reason}; "
        "set PRUNUS_CACHE_DIR to a folder elsewhere"
    )
