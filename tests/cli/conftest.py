import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from cli.main import prunus
from golden.image import save
from golden.nets.random import random_network

ROOT = Path(__file__).parents[2]

RECIPE = """
name = "tiny"
dataset = "digits"
seed = 1

[network]
layers = [64, 12, 10]

[train]
epochs = 20
batch = 64
learning_rate = 0.01
weight_decay = 0.01
shift = 0
validation = 0

[prune]
densities = [0.4, 0.6]
steps = 2
step_epochs = 1
epochs = 1
learning_rate = 0.003

[share]
bits = [3, 3]
epochs = 1
learning_rate = 0.001
"""


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def network():
    return random_network(np.random.default_rng(5), shape=(24, 16, 10), density=0.3)


@pytest.fixture(scope="session")
def image(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("image") / "random.prunus"
    save(network, path)
    return path


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(RECIPE)
    return path


@pytest.fixture
def run():
    """Run a verb in this process: stdout, stderr and exit code in the result."""

    def run(*arguments, code=0):
        result = CliRunner().invoke(prunus, [str(argument) for argument in arguments])
        assert "Traceback" not in result.stderr
        assert result.exit_code == code, result.stderr
        return result

    return run


def environment(**more):
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **more}


@pytest.fixture
def start():
    """Start a verb in a process of its own; ended with the test."""
    processes = []

    def start(*arguments, env=None, **options):
        process = subprocess.Popen(
            [sys.executable, "-m", "cli", *map(str, arguments)],
            env=environment(**(env or {})),
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options},
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
        with process:
            pass
