"""The beats that load the example network, packet by packet: ``python -m docs.beats``."""

from docs.tiny import DEVICE, network
from hdl.loader import BEAT_WIDTH, Header, Space, spaces
from mapping import plan

__all__ = ["text"]


def text() -> str:
    """Each packet's header and what it says, then the beats of its items."""
    beats = plan(network(), DEVICE).load.tolist()
    lines = []
    while beats:
        header = Header.from_bits(beats[0])
        space = Space(header.space)
        what = f"{space.name}, element {header.element}, {header.count} items"
        lines.append(f"{beats.pop(0):08x}  {what if header.count else space.name}")
        if header.count:
            width, _ = spaces(DEVICE)[space]
            length = header.count * -(-width // BEAT_WIDTH)
            lines.append("  " + " ".join(f"{beat:x}" for beat in beats[:length]))
            del beats[:length]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(text(), end="")
