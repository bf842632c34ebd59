"""Which simulators benches run on."""

import os

import pytest

from sim import toolchain
from sim.runner import BOTH, LARGE, PROGRAMS


def pytest_generate_tests(metafunc):
    """The one that ``SIM`` names; or else Icarus, and for some benches Verilator, too or alone."""
    if "simulator" not in metafunc.fixturenames:
        return
    bench = metafunc.module.__name__.rpartition("test_")[2]
    chosen = os.environ.get("SIM")
    names = [chosen] if chosen else list(PROGRAMS)
    # What the only simulator there is does not run, nothing would.
    if not chosen and bench in LARGE:
        names = ["verilator"]
    elif not chosen and bench not in BOTH and toolchain.find(PROGRAMS["icarus"]).path:
        names = ["icarus"]
    metafunc.parametrize("simulator", [_parameter(name) for name in names])


def _parameter(name):
    tool = toolchain.find(PROGRAMS[name])
    missing = pytest.mark.skipif(tool.path is None, reason=f"needs {tool.name}: {tool.install}")
    return pytest.param(name, marks=missing)
