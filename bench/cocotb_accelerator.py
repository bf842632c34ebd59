"""The accelerator under cocotb, for :mod:`bench.simulators`. Runs inside the simulator."""

import os
import time
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge

FOLDER = Path(os.environ["BENCH_FOLDER"])


@cocotb.test()
async def runs_a_network(dut: Any) -> None:
    """Load and run what is in ``work.npz``, and leave in ``found.npz`` what came of it."""
    work = np.load(FOLDER / "work.npz")
    width, ahead = int(work["width"]), int(work["ahead"])
    beats_in, beats_out = map(int, work["beats"])
    lanes = work["blocks"].shape[1]
    mask = (1 << width) - 1
    blocks = [
        sum((value & mask) << width * lane for lane, value in enumerate(block))
        for block in work["blocks"].tolist()
    ]

    for name in "load__valid", "i__valid", "o__ready", "counters__ready":
        getattr(dut, name).value = 0
    dut.rst.value = 1
    Clock(dut.clk, 10, unit="ns").start()
    await ClockCycles(dut.clk, 2)
    dut.rst.value = 0

    for beat in work["load"].tolist():
        dut.load__payload.value = beat
        dut.load__valid.value = 1
        await RisingEdge(dut.clk)
        while not dut.load__ready.value:
            await RisingEdge(dut.clk)
    dut.load__valid.value = 0

    outputs: list[int] = []
    sent = received = cycles = 0
    dut.o__ready.value = 1
    begin = time.process_time()
    while received < len(blocks) // beats_in * beats_out:
        done = received // beats_out
        send = sent < len(blocks) and (sent % beats_in != 0 or sent // beats_in < done + ahead)
        dut.i__valid.value = send
        if send:
            dut.i__payload.value = blocks[sent]
        await RisingEdge(dut.clk)
        cycles += 1
        sent += send and bool(dut.i__ready.value)
        if dut.o__valid.value:
            payload = dut.o__payload.value.to_unsigned()
            outputs += [payload >> width * lane & mask for lane in range(lanes)]
            received += 1
    seconds = time.process_time() - begin
    values = np.array(outputs, np.uint16)
    values = (values << (16 - width)).astype(np.int16) >> (16 - width)
    np.savez(FOLDER / "found.npz", outputs=values, cycles=cycles, seconds=seconds)
