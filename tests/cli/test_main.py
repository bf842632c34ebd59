"""What all verbs have in common: help, errors, exit codes, and how little is imported."""

import contextlib
import errno
import json
import os
import resource
import signal
import subprocess
import sys
import time
import warnings
from importlib.metadata import PackageNotFoundError, version

import click
import pytest

from cli.failure import as_failure
from cli.main import VERBS, prunus
from golden.errors import FitError, MismatchError, ToolError
from golden.image import save
from tests.cli.conftest import environment
from tests.golden.strategies import small_graph


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_verb(run, verb):
    text = run(verb, "-h").stdout
    assert text == run(verb, "--help").stdout
    assert VERBS[verb] in text.replace("\n  ", " ")
    assert f"  prunus {verb}" in text.partition("Examples:")[2]
    assert "  130  interrupted" in text.partition("Exit codes:")[2]
    assert "--json" in text


def test_help(run):
    text = run("--help").stdout
    for verb, meaning in VERBS.items():
        assert f"  {verb} " in text
        assert meaning in text
    for code in "0", "1", "2", "3", "4", "5", "130":
        assert f"\n  {code} " in text.partition("Exit codes:")[2]


def test_version(run):
    try:
        expected = version("prunus")
    except PackageNotFoundError:
        pytest.skip("needs the package to be installed")
    assert run("-V").stdout == run("--version").stdout == f"prunus {expected}\n"


def test_version_of_what_is_not_installed(run, monkeypatch):
    def version(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.version", version)
    stderr = run("--version", code=3).stderr
    assert stderr.startswith("prunus: prunus has no version as it is not installed; to install it:")


def test_unknown_verb(run):
    assert "No such verb 'simulat'. Did you mean 'simulate'?" in run("simulat", code=2).stderr
    assert "There are doctor, demo," in run("xyz", code=2).stderr


def test_unknown_option(run):
    stderr = run("verilog", "--devise", "pe4", code=2).stderr
    assert "No such option" in stderr
    assert "--device" in stderr


def test_error_as_json(run, tmp_path):
    result = run("info", tmp_path / "none.prunus", "--json", code=2)
    error = json.loads(result.stdout)["error"]
    assert error["exit_code"] == 2
    assert f"prunus: {error['message']}\n" == result.stderr
    assert "none.prunus" in error["message"]


def test_usage_error_as_json(run):
    error = json.loads(run("info", "--json", "--nothing", code=2).stdout)["error"]
    assert error["exit_code"] == 2
    assert "--nothing" in error["message"]
    # Nor does it take a verb.
    assert json.loads(run("--json", code=2).stdout)["error"]["exit_code"] == 2


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (MismatchError("differ"), 1, "differ"),
        (ToolError("missing"), 3, "missing"),
        (FitError("too small"), 4, "too small"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (KeyboardInterrupt("go on"), 130, "interrupted: go on"),
        (
            OSError(errno.ENOSPC, "No space left on device", "x.npy"),
            2,
            "x.npy: no space is left on the disk",
        ),
        (OSError(errno.EACCES, "Permission denied", "x.npy"), 2, "x.npy: Permission denied"),
        (OSError("odd"), 2, "odd"),
        (MemoryError(), 2, "there is not enough memory"),
        (
            ModuleNotFoundError("No module named 'torch'", name="torch"),
            3,
            "torch is missing; to install it: pip install 'prunus[train]'",
        ),
        (
            ModuleNotFoundError("No module named 'sklearn.datasets'", name="sklearn.datasets"),
            3,
            "sklearn is missing; to install it: pip install 'prunus[train]'",
        ),
        (
            KeyError("x"),
            70,
            "internal error: KeyError: 'x'\nSet PRUNUS_DEBUG=1 to see where it comes from.",
        ),
    ],
)
def test_words_and_codes(error, code, message, monkeypatch):
    monkeypatch.delenv("PRUNUS_DEBUG", raising=False)
    failure = as_failure(error, as_json=False)
    assert isinstance(failure, click.ClickException)
    assert (failure.exit_code, failure.message) == (code, message)


def test_traceback_for_those_who_ask(run, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PRUNUS_DEBUG", "1")
    with pytest.raises(SystemExit) as exit_:
        prunus(["info", str(tmp_path)])
    assert exit_.value.code == 2
    assert "Traceback" in capsys.readouterr().err


HEAVY = ("torch", "numpy", "rich", "amaranth", "matplotlib", "sklearn", "hdl", "golden.image")


def imported(*arguments):
    """Which of the heavy packages a command imports."""
    script = (
        "import contextlib, io, sys\n"
        "from cli.main import prunus\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):\n"
        "    prunus(sys.argv[1:])\n"
        f"print(*[name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("arguments", [["--help"], ["simulate", "--help"], ["compress", "--help"]])
def test_help_imports_little(arguments):
    assert imported(*arguments) == set()


def test_no_torch_for_info(image):
    assert imported("info", image, "--json") == {"numpy", "golden.image"}


def test_no_torch_for_doctor():
    assert imported("doctor") & {"torch", "numpy", "amaranth"} == set()


def test_no_torch_for_verilog(tmp_path):
    needed = imported("verilog", "--device", "pe1", "-o", tmp_path / "x.v")
    assert "hdl" in needed
    assert "torch" not in needed
    assert (tmp_path / "x.v").exists()


@pytest.mark.parametrize("arguments", [["--help"], ["info", "--help"], ["info", None]])
def test_stdout_closed(start, image, arguments):
    process = start(*(argument or image for argument in arguments))
    process.stdout.close()
    assert process.wait(60) == 141
    assert process.stderr.read() == ""


def test_stdout_full(start, image):
    with open("/dev/full", "w") as full:  # noqa: PTH123
        process = start("info", image, stdout=full)
        assert process.wait(60) == 2
    assert (
        process.stderr.read() == "prunus: cannot write the result: no space is left on the disk\n"
    )


def test_disk_full(start, image, tmp_path):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    target = tmp_path / "x.npy"
    process = start("golden", image, "--random", 1000, "-o", target, preexec_fn=limit)
    assert process.wait(60) == 2
    assert process.stderr.read().endswith(
        f"prunus: {target}: the file would be larger than is allowed\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_an_error_is_all_that_is_said(run, image, monkeypatch):
    """What hardware that is not used has to say of itself would only hide it."""

    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("golden.image.load", interrupted)
    run("info", image, code=130)
    warnings.warn_explicit("never used", UserWarning, "hardware.py", 1)


def test_interrupted_import(start, image, tmp_path):
    """A package that is interrupted while it is imported, and later takes its time."""
    package = tmp_path / "rich.py"
    package.write_text(
        "import pathlib, signal, time\n"
        "signal.raise_signal(signal.SIGINT)\n"
        "time.sleep(0.02)\n"
        "pathlib.Path(__file__).with_name('finished').touch()\n"
        "def __getattr__(name):\n"
        "    time.sleep(10)\n"
    )
    path = os.pathsep.join([str(tmp_path), environment()["PYTHONPATH"]])
    process = start("info", image, env={"PYTHONPATH": path})
    _, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (130, "prunus: interrupted\n")
    assert (tmp_path / "finished").exists()


def test_interrupted_training_goes_on(start, run, recipe, tmp_path):
    target, work = tmp_path / "net.prunus", tmp_path / "net.work"
    command = "compress", recipe, "-o", target
    process = start(*command)
    wait_for(lambda: (work / "train.safetensors").exists(), process)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stderr.splitlines()[-1] == "prunus: interrupted: the same command goes on from here"
    assert "Traceback" not in stderr
    assert not target.exists()
    assert {path.name for path in work.iterdir()} <= {"train.safetensors", "prune.safetensors"}

    run(*command)
    interrupted = target.read_bytes()
    run(*command, "--no-resume")
    assert target.read_bytes() == interrupted


def test_interrupted_simulation(start, image):
    """With a terminal for progress, which says when the simulation has begun."""
    master, slave = os.openpty()
    process = start("compare", image, "--device", "pe4", "--random", 100_000, stderr=slave)
    os.close(slave)
    shown = b""
    deadline = time.monotonic() + 300
    while b"simulation" not in shown:
        assert time.monotonic() < deadline, shown
        shown += os.read(master, 1000)
    process.send_signal(signal.SIGINT)
    # A terminal whose other side is closed gives an error in place of an end.
    with contextlib.suppress(OSError):
        while part := os.read(master, 1000):
            shown += part
    os.close(master)
    assert process.wait(60) == 130
    assert process.stdout.read() == ""
    assert b"prunus: interrupted" in shown
    assert b"Traceback" not in shown


def wait_for(condition, process):
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize("verb", ["explain", "simulate", "compare"])
def test_layers_that_take_feature_maps(run, tmp_path, verb):
    path = tmp_path / "graph.prunus"
    save(small_graph(), path)
    stderr = run(verb, path, code=4).stderr
    assert stderr.startswith(
        "prunus: network 'graph' has layers that take a device with feature maps (map_depth): "
        "'conv' (convolution), 'max' (max), 'average' (average), 'add' (add), "
        "'concatenate' (concatenate)\n"
    )
