import signal
import sys
import time

import pytest

from cli.interrupts import between_imports

MODULE = """
import signal
import time

# The interrupt, and time for it to come too early.
signal.raise_signal(signal.SIGINT)
time.sleep(0.02)
finished = True
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Name of a module that is interrupted while it is imported."""
    name = "interrupted_module"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    yield name
    sys.modules.pop(name, None)


def interrupted_import(name):
    with between_imports():
        __import__(name)
        # The interrupt, which must not have been lost, comes when the timer is through.
        limit = time.monotonic() + 10
        while signal.getitimer(signal.ITIMER_REAL)[0] and time.monotonic() < limit:
            pass


def test_waits_for_the_end_of_an_import(module):
    with pytest.raises(KeyboardInterrupt):
        interrupted_import(module)
    assert sys.modules[module].finished


def test_does_not_wait_otherwise():
    with pytest.raises(KeyboardInterrupt), between_imports():
        signal.raise_signal(signal.SIGINT)


def test_leaves_signals_as_they_were():
    alarm = signal.getsignal(signal.SIGALRM)
    with between_imports():
        assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGALRM) == alarm


def test_interrupts_that_are_ignored_stay_ignored(module):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        interrupted_import(module)
    finally:
        signal.signal(signal.SIGINT, before)
    assert sys.modules[module].finished
