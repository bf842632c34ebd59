"""Verilog of a component, with units that are used many times written once."""

import re

from amaranth import *
from amaranth.back import verilog
from amaranth.lib import wiring

__all__ = ["convert", "shared"]


class _Modules:
    """Stands in for a platform during conversion and collects the units that are shared."""

    def __init__(self):
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


def convert(component, *, name):
    """Verilog of ``component`` as module ``name``, and of the units that it shares.

    Returns
    -------
    :class:`str`
        One text with all modules, without the places in the source where they come from.
    """
    modules = _Modules()
    texts = [_module(component, name, modules)]
    done = set()
    while pending := modules.units.keys() - done:
        unit = min(pending)
        texts.append(_module(modules.units[unit], unit, modules))
        done.add(unit)
    return "\n".join(texts)


def _module(component, name, platform):
    text = verilog.convert(
        component, name=name, platform=platform, emit_src=False, strip_internal_attrs=True
    )
    return _fold_zeros(text)


# A memory's initial contents come out word by word.
_WORD = re.compile(r"^    (?P<memory>\S+) ?\[\d+\] = \d+'h0+;\n", re.MULTILINE)
_BLOCK = re.compile(r"  initial begin\n(?P<words>(?:    \S+ ?\[\d+\] = \d+'h0+;\n)+)  end\n")


def _fold_zeros(text):
    """``text`` with memories that begin as zeros cleared by a loop."""
    count = 0

    def loop(match):
        nonlocal count
        words = match["words"]
        memory = _WORD.match(words)["memory"]
        count += 1
        index = f"clear_{count}"
        return (
            f"  integer {index};\n  initial\n"
            f"    for ({index} = 0; {index} < {words.count(chr(10))}; {index} = {index} + 1)\n"
            f"      {memory} [{index}] = 0;\n"
        )

    return _BLOCK.sub(loop, text)
