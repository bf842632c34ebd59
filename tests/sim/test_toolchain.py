import os
import shutil
import stat
import time
from collections import namedtuple

import pytest

from golden.errors import PrunusError, ToolError
from hdl.configuration import Configuration
from sim import toolchain
from sim.compiled import CompiledModel


@pytest.fixture
def run(tmp_path):
    """Runs scripts of the shell; ``run.log`` is where their output goes."""

    def run(*scripts, limit=30, **options):
        commands = [["sh", "-c", script] for script in scripts]
        toolchain.run(commands, folder=tmp_path, log=run.log, limit=limit, **options)

    run.log = tmp_path / "log"
    return run


def test_tools():
    found = {tool.name: tool for tool in toolchain.tools()}
    assert list(found) == ["verilator", "g++", "perl", "make", "iverilog"]
    for tool in found.values():
        assert tool.purpose
        assert tool.install
        assert tool.path is None or tool.path.is_file()
        assert tool.path is None or tool.version[0].isdigit()
    assert found["verilator"].path.parent.parent.name == "verilator"


def test_unknown():
    with pytest.raises(ValueError, match=r"^name must be one of \['verilator', .*\], not 'gcc'$"):
        toolchain.find("gcc")


@pytest.fixture
def bare(tmp_path, monkeypatch):
    """A search path with nothing in it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("PRUNUS_CACHE_DIR", str(tmp_path / "cache"))
    return folder


def put(folder, name, script):
    path = folder / name
    path.write_text(f"#!{shutil.which('sh', path='/bin:/usr/bin')}\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


SMALL = Configuration(elements=1, scan_width=1, weight_depth=64, column_depth=64, bias_depth=64)


def test_missing(bare):
    assert toolchain.find("g++").path is None
    with pytest.raises(ToolError) as error:
        CompiledModel(SMALL)
    assert str(error.value) == (
        "g++ is missing, which compiles the simulated hardware; "
        "install it: sudo apt-get install g++"
    )


def test_missing_verilator(monkeypatch):
    monkeypatch.setattr(toolchain, "_verilator", lambda: None)
    toolchain._find.cache_clear()
    with pytest.raises(ToolError, match=r"install it: pip install 'prunus\[sim\]'$"):
        CompiledModel(SMALL)
    toolchain._find.cache_clear()


def test_a_build_that_fails(bare, tmp_path):
    put(
        bare,
        "g++",
        'case "$1" in --version) echo 12.3;; *) echo "something is wrong"; exit 7; esac',
    )
    with pytest.raises(ToolError) as error:
        CompiledModel(SMALL)
    message = str(error.value)
    assert message.startswith("g++ failed with status 7:\n")
    assert "\nsomething is wrong\n" in message
    log = next((tmp_path / "cache").glob("model-*.log"))
    assert message.endswith(f"\nAll of its output is in {log}")
    assert "something is wrong" in log.read_text()
    assert not [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]
    assert not list((tmp_path / "cache").glob("*.so"))


def test_a_build_on_a_full_disk(bare, tmp_path, monkeypatch):
    put(bare, "g++", 'case "$1" in --version) echo 12.3;; *) exit 1; esac')
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(free=4096))
    with pytest.raises(
        PrunusError, match=r"^cannot write to the cache .* no space is left on the "
    ):
        CompiledModel(SMALL)


def test_output(run, tmp_path):
    run("echo one; pwd", "echo two >&2")
    run("echo $three", environment={"three": "THREE"})
    assert run.log.read_text().splitlines() == [
        "sh -c echo one; pwd",
        "one",
        str(tmp_path),
        "sh -c echo two >&2",
        "two",
        "sh -c echo $three",
        "THREE",
    ]


def test_side_by_side(run):
    # Each waits for what the other does.
    run(
        "touch a; until [ -e b ]; do sleep 0.01; done",
        "touch b; until [ -e a ]; do sleep 0.01; done",
        jobs=2,
    )


def test_failure_ends_the_others(run, tmp_path):
    begin = time.monotonic()
    with pytest.raises(ToolError, match="^sh failed with status 3:\n"):
        run("exit 3", "sleep 60; touch late", "touch never", jobs=2)
    assert time.monotonic() - begin < 30
    assert not (tmp_path / "never").exists()


def test_the_end_of_the_output_is_told(run):
    with pytest.raises(ToolError) as error:
        run("seq 1000; exit 1")
    lines = str(error.value).splitlines()
    assert lines[0] == "sh failed with status 1:"
    assert lines[-2] == "1000"
    assert len(lines) < 20


def test_too_slow(run):
    with pytest.raises(ToolError) as error:
        run("sleep 60", limit=0.2)
    assert str(error.value) == (f"sh did not finish within 0.2 seconds; its output is in {run.log}")


def test_environment():
    environment = toolchain.verilator_environment()
    first = environment["PATH"].split(":")[0]
    assert first == str(toolchain.require("verilator").path.parent)
    assert environment["VERILATOR_ROOT"] in first
    own = environment["PATH"].removesuffix(os.environ["PATH"])
    assert shutil.which("python", path=own)
