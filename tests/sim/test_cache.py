import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from golden.errors import PrunusError
from sim import cache
from sim.cache import cached, digest, directory


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("PRUNUS_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def write(text):
    def make(folder, log):
        path = folder / "made"
        path.write_text(text)
        return path

    return make


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def start(script, *arguments):
    """A Python process that runs ``script``; the cache is the same."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_directory(monkeypatch, tmp_path):
    assert directory() == tmp_path / "cache"
    monkeypatch.setenv("PRUNUS_CACHE_DIR", "")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert directory() == Path("/somewhere/prunus")
    monkeypatch.setenv("HOME", "/home/somebody")
    for ignored in "", "relative":
        monkeypatch.setenv("XDG_CACHE_HOME", ignored)
        assert directory() == Path("/home/somebody/.cache/prunus")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert directory() == Path("/home/somebody/.cache/prunus")


def test_digest():
    values = [digest("ab", "c"), digest("a", "bc"), digest("abc"), digest("ab", "c", ""), digest()]
    assert len(set(values)) == len(values)
    assert digest("ab", "c") == digest(b"ab", b"c")


def test_made_once(folder):
    path = cached("x-1.txt", write("one"))
    assert path == folder / "x-1.txt"
    assert path.read_text() == "one"
    assert cached("x-1.txt", write("two")).read_text() == "one"
    assert names(folder) == ["x-1.log", "x-1.txt"]


def test_a_failure_leaves_nothing_but_the_log(folder):
    def make(folder, log):
        (folder / "half").write_text("half")
        log.write_text("what happened")
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="^no$"):
        cached("x-1.txt", make)
    assert names(folder) == ["x-1.log"]
    assert (folder / "x-1.log").read_text() == "what happened"
    assert cached("x-1.txt", write("one")).read_text() == "one"


@pytest.mark.parametrize(
    ("number", "reason"),
    [(errno.ENOSPC, "no space is left on the disk"), (errno.EROFS, "Read-only file system")],
)
def test_a_disk_that_does_not_take_it(folder, number, reason):
    def make(folder, log):
        (folder / "half").write_text("half")
        raise OSError(number, os.strerror(number))

    with pytest.raises(PrunusError) as error:
        cached("x-1.txt", make)
    assert str(error.value) == (
        f"cannot write to the cache in {folder}: {reason}; "
        "set PRUNUS_CACHE_DIR to a folder elsewhere"
    )
    assert names(folder) == ["x-1.log"]


def test_a_cache_that_is_a_file(folder):
    folder.write_text("")
    with pytest.raises(PrunusError, match="^cannot write to the cache in .*: File exists; set "):
        cached("x-1.txt", write("one"))


SLOW = """
import sys, time
from pathlib import Path
from sim.cache import cached

def make(folder, log):
    with open(sys.argv[1], "a") as file:
        file.write("made ")
    time.sleep(0.5)
    (folder / "made").write_text("one")
    return folder / "made"

print(cached("x-1.txt", make).read_text())
"""


def test_two_at_once(folder, tmp_path):
    both = [start(SLOW, tmp_path / "count") for _ in range(2)]
    for process in both:
        answer, errors = process.communicate(timeout=60)
        assert answer == "one\n", errors
    assert (tmp_path / "count").read_text() == "made "
    assert names(folder) == ["x-1.log", "x-1.txt"]


# A build step that goes on for a long time, and has a child that does so too.
ENDLESS = """
import sys
from pathlib import Path
from sim import toolchain
from sim.cache import cached

def make(folder, log):
    script = "sleep 100 & echo $$ $! > pids.part; mv pids.part pids; wait"
    toolchain.run([["sh", "-c", script]], folder=folder, log=log, limit=100)

cached("x-1.txt", make)
"""


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize("ends", [signal.SIGINT, signal.SIGKILL], ids=["interrupt", "kill"])
def test_ended_in_the_middle(folder, ends):
    process = start(ENDLESS)
    wait_for(lambda: list(folder.glob("*/pids")))
    pids = next(folder.glob("*/pids")).read_text().split()
    assert len(pids) == 2
    assert all(map(alive, pids))
    process.send_signal(ends)
    process.communicate(timeout=60)
    if ends == signal.SIGINT:
        wait_for(lambda: not any(map(alive, pids)))
        assert names(folder) == ["x-1.log"]
    else:
        for pid in pids:
            os.kill(int(pid), signal.SIGKILL)
    # Whatever is left of it is in nobody's way.
    assert cached("x-1.txt", write("one")).read_text() == "one"
    assert names(folder) == ["x-1.log", "x-1.txt"]


def test_another_process_that_does_not_finish(folder, monkeypatch):
    process = start(ENDLESS)
    wait_for(lambda: list(folder.glob("*/pids")))
    monkeypatch.setattr(cache, "_LIMIT", 0.3)
    with pytest.raises(
        PrunusError,
        match=r"^another process has been making .*x-1\.txt for more than 0\.3 seconds$",
    ):
        cached("x-1.txt", write("one"))
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
