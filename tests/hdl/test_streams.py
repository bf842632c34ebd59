# amaranth: UnusedElaboratable=no
"""What queues refuse."""

import pytest

from hdl.sparse.counts import Segment
from hdl.sparse.queue import SegmentQueue
from hdl.streams import Queue, VectorQueue


@pytest.mark.parametrize("queue", [Queue, VectorQueue])
@pytest.mark.parametrize("depth", [1, 0, -2, 4.0, "4", None, True], ids=repr)
def test_depth_of_a_queue(queue, depth):
    with pytest.raises(TypeError, match=f"^depth must be an integer of at least 2, not {depth!r}$"):
        queue(8, depth=depth)


def test_depth_of_a_segment_queue():
    shape = Segment(64, 3, 8)
    with pytest.raises(ValueError, match="^depth must be more than 7, not 7$"):
        SegmentQueue(shape, depth=7)
    assert SegmentQueue(shape, depth=8).depth == 8
