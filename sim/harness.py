# amaranth: UnusedElaboratable=no
"""What stands around the accelerator in a simulation, to make it fast."""

import re
from typing import Any

from amaranth.hdl import Module, Shape
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hdl.accelerator import Accelerator
from hdl.configuration import Configuration
from hdl.sparse.element import Element
from hdl.verilog import convert
from sim.memory import MODULE, Outside

__all__ = ["Equipped", "source"]

_ELEMENT = "module element("

MEMORY = {"latency": 12, "every": 1, "turnaround": 6}
"""What memory outside takes, in cycles, as of :class:`~sim.memory.Outside`. With 8 activations of
16 bits in a word, that is DDR3 of 16 bits at four times the clock, whose rows are open."""


class Equipped(wiring.Component):
    """An accelerator with memory for its feature maps. All other ports are its own.

    Parameters
    ----------
    accelerator : Accelerator
    timing : int
        As of :class:`~sim.memory.Outside`.
    """

    def __init__(self, accelerator: Accelerator, **timing: int) -> None:
        self.accelerator = accelerator
        self.configuration = accelerator.configuration
        self.timing = timing
        members = accelerator.signature.members
        super().__init__(
            {name: members[name] for name in members if name not in ("command", "answer")}
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.accelerator = accelerator = self.accelerator
        c = self.configuration
        m.submodules.memory = memory = Outside(
            accelerator.answer.payload.shape(), address_width=ceil_log2(c.map_depth), **self.timing
        )
        wiring.connect(m, accelerator.command, memory.command)
        wiring.connect(m, memory.answer, accelerator.answer)
        for name, member in self.signature.members.items():
            own, inner = getattr(self, name), getattr(accelerator, name)
            if member.is_port:
                m.d.comb += own.eq(inner) if member.flow == Out else inner.eq(own)
            elif member.flow == Out:
                wiring.connect(m, inner, wiring.flipped(own))
            else:
                wiring.connect(m, wiring.flipped(own), inner)
        return m


def source(configuration: Configuration, *, fast: bool) -> str:
    """Verilog of a module ``harness`` around the accelerator, with the same ports.

    Every input comes from a register, reset too, so that it holds for the cycle after the edge
    that it was set before. Then nothing but the edge makes any logic change, and Verilator
    evaluates the design once a cycle. With bare pins it would evaluate what depends on them once
    more, which is nearly half of the design, since all registers depend on reset.

    Parameters
    ----------
    configuration : Configuration
    fast : bool
        Whether to stand every element in a wrapper of its own too. Verilator writes a function
        for each element, and finds that they are all alike only if none names what is outside.
        One function for all of them stays in the processor's cache, and compiles sooner. In a
        trace the wrapper would be in the way.
    """
    accelerator = Accelerator(configuration)
    if configuration.map_reads:
        accelerator = Equipped(accelerator, **MEMORY)
    text = convert(accelerator, name="prunus")
    if configuration.map_reads:
        text += MODULE.read_text()
    if fast:
        assert text.count(_ELEMENT) == 1, "Verilog must have one module of the elements"
        text = text.replace(_ELEMENT, "module element_inside(")
        text += _isolated(Element(configuration), "element", "element_inside")
    else:
        # Yosys' own names have a dollar sign; Verilator does not trace what an underscore begins.
        text = re.sub(r"\\(?=\S*\$)", r"\\_", text)
    return text + _registered(accelerator, "harness", "prunus")


def _ports(component: wiring.Component) -> list[tuple[str, bool, int]]:
    """Name, whether it is an input, and width of each port of ``component``."""
    ports = [("clk", True, 1), ("rst", True, 1)]
    for path, member, _ in component.signature.flatten(component):
        width = Shape.cast(member.shape).width
        ports.append(("__".join(map(str, path)), member.flow == In, width))
    return ports


def _registered(component: wiring.Component, name: str, inside: str) -> str:
    """Module ``name`` around ``inside``, with registers in front of its inputs."""
    ports = _ports(component)
    behind = {port: f"{port}__q" for port, is_input, _ in ports if is_input and port != "clk"}
    body = [
        f"  reg {_range(width)}{behind[port]} = 0;" for port, _, width in ports if port in behind
    ]
    body += ["  always @(posedge clk) begin"]
    body += [f"    {register} <= {port};" for port, register in behind.items()]
    body += ["  end"]
    return _module(ports, name, body, inside, behind)


def _isolated(component: wiring.Component, name: str, inside: str) -> str:
    """Module ``name`` around ``inside``, with its inputs copied.

    Verilator would see through a copy into a plain variable; it leaves arrays alone.
    """
    ports = _ports(component)
    copies = {port: f"{port}__a[0]" for port, is_input, _ in ports[2:] if is_input}
    body = []
    for port, _, width in ports:
        if port in copies:
            body += [f"  reg {_range(width)}{port}__a [0:0];"]
            body += [f"  always @* {copies[port]} = {port};"]
    return _module(ports, name, body, inside, copies)


def _range(width: int) -> str:
    return f"[{width - 1}:0] " if width > 1 else ""


def _module(
    ports: list[tuple[str, bool, int]],
    name: str,
    body: list[str],
    inside: str,
    values: dict[str, str],
) -> str:
    heads = [
        f"{'input' if is_input else 'output'} {_range(width)}{port}"
        for port, is_input, width in ports
    ]
    connections = [f".{port}({values.get(port, port)})" for port, _, _ in ports]
    lines = [
        f"module {name}(\n  " + ",\n  ".join(heads) + "\n);",
        *body,
        f"  {inside} {inside}(\n    " + ",\n    ".join(connections) + "\n  );",
        "endmodule",
    ]
    return "\n".join(lines) + "\n"
