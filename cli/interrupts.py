"""When an interrupt may become an exception."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

__all__ = ["between_imports"]

# Seconds after which an interrupt that has to wait is looked at again.
_PAUSE = 0.001


@contextlib.contextmanager
def between_imports() -> Iterator[None]:
    """While this lasts, an interrupt waits for the end of an import.

    An exception at any point of its import is more than a package with C++ in it can bear: it
    aborts, reports an error of its own, or swallows the interrupt.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        # Whoever called wants interrupts to be ignored.
        yield
        return
    alarm = signal.signal(signal.SIGALRM, _interrupt)
    signal.signal(signal.SIGINT, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, alarm)


def _interrupt(number: int, frame: FrameType | None) -> None:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            signal.setitimer(signal.ITIMER_REAL, _PAUSE)
            return
        frame = frame.f_back
    raise KeyboardInterrupt
