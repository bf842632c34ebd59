"""Which simulators benches run on."""

import os

import pytest

from sim import toolchain
from sim.runner import PROGRAMS


@pytest.fixture(params=PROGRAMS)
def simulator(request):
    """Each simulator, or the one that the environment variable ``SIM`` names."""
    chosen = os.environ.get("SIM")
    if chosen and request.param != chosen:
        pytest.skip(f"SIM is {chosen}")
    tool = toolchain.find(PROGRAMS[request.param])
    if tool.path is None:
        pytest.skip(f"needs {tool.name}: {tool.install}")
    return request.param
