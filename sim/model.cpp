// The accelerator behind a C interface: whole vectors in and out, no call per cycle.
//
// Compiled together with what Verilator makes of the design inside sim.harness, which registers
// every input: what the pins are set to before an edge holds for the cycle after it. A beat of the
// streams `i` and `o`, and of `tap`, has LANES activations of WIDTH bits.

#include <cerrno>
#include <cstdint>
#include <memory>

#include "Vprunus.h"
#include "verilated.h"
#if VM_TRACE
#include "verilated_vcd_c.h"
#endif

namespace {

constexpr uint32_t MASK = (uint32_t(1) << WIDTH) - 1;

int16_t extend(uint32_t bits) { return int16_t(int32_t(bits << (32 - WIDTH)) >> (32 - WIDTH)); }

// The first lane is the lowest. Verilator gives ports of up to 64 bits an integer type, and wider
// ones an array of 32-bit words.
template <typename Port>
void write_block(Port &port, const int16_t *block) {
    uint64_t bits = 0;
    for (unsigned lane = 0; lane < LANES; ++lane)
        bits |= uint64_t(uint32_t(block[lane]) & MASK) << lane * WIDTH;
    port = Port(bits);
}

template <std::size_t Words>
void write_block(VlWide<Words> &port, const int16_t *block) {
    for (unsigned word = 0; word < Words; ++word) port[word] = 0;
    for (unsigned lane = 0; lane < LANES; ++lane) {
        const unsigned at = lane * WIDTH;
        const uint64_t bits = uint64_t(uint32_t(block[lane]) & MASK) << at % 32;
        port[at / 32] |= uint32_t(bits);
        if (at % 32 + WIDTH > 32) port[at / 32 + 1] |= uint32_t(bits >> 32);
    }
}

template <typename Port>
void read_block(const Port &port, int16_t *block) {
    for (unsigned lane = 0; lane < LANES; ++lane)
        block[lane] = extend(uint32_t(uint64_t(port) >> lane * WIDTH));
}

template <std::size_t Words>
void read_block(const VlWide<Words> &port, int16_t *block) {
    for (unsigned lane = 0; lane < LANES; ++lane) {
        const unsigned at = lane * WIDTH;
        uint64_t bits = port[at / 32];
        if (at % 32 + WIDTH > 32) bits |= uint64_t(port[at / 32 + 1]) << 32;
        block[lane] = extend(uint32_t(bits >> at % 32));
    }
}

#if VM_TRACE
// After a write that fails, Verilator would end the process. Here it is noted, and the rest of the
// trace goes nowhere.
class TraceFile final : public VerilatedVcdFile {
  public:
    bool open(const std::string &name) override {
        const bool opened = VerilatedVcdFile::open(name);
        if (!opened) error = errno;
        return opened;
    }

    ssize_t write(const char *data, ssize_t size) override {
        if (error) return size;
        const ssize_t written = VerilatedVcdFile::write(data, size);
        if (written >= 0 || errno == EAGAIN || errno == EINTR) return written;
        error = errno;
        return size;
    }

    int error = 0;
};
#endif

class Model {
  public:
    explicit Model(const char *waves) {
#if VM_TRACE
        context.traceEverOn(true);
        if (waves) {
            top.trace(&trace, 99);
            trace.set_time_unit("ns");
            trace.set_time_resolution("ns");
            trace.open(waves);
        }
#else
        (void)waves;
#endif
    }

    ~Model() {
        top.final();
        finish_trace();
    }

    void finish_trace() {
#if VM_TRACE
        trace.close();
#endif
    }

    // As errno has it, or 0.
    int trace_error() const {
#if VM_TRACE
        return file.error;
#else
        return 0;
#endif
    }

    // Ends the cycle at hand. Then the outputs are those of the next one, with the inputs as set.
    void edge() {
        ++cycles;
        top.clk = 1;
        top.eval();
        dump(0);
        top.clk = 0;
        top.eval();
        dump(5);
    }

    VerilatedContext context;
    Vprunus top{&context};
    uint64_t cycles = 0;
    bool tracing = false;

  private:
    void dump(unsigned time) {
#if VM_TRACE
        if (tracing) trace.dump(10 * cycles + time);
#else
        (void)time;
#endif
    }

#if VM_TRACE
    TraceFile file;
    VerilatedVcdC trace{&file};
#endif
};

// A run and how far it has come. Counts are of beats, but for vectors.
struct Run {
    const int16_t *inputs;
    int16_t *outputs;
    uint64_t *finished; // of each vector: cycles until its last beat of output was taken
    int16_t *taps;      // or null; activations of all layers
    uint64_t *tapped;   // of each beat of taps: cycles before it was there
    int64_t vectors, beats_in, beats_out, beats_tap;
    int64_t ahead;  // vectors under way at a time, at most
    int64_t traced; // vectors until which all signals are traced
    int64_t sent, received, seen;
    int64_t cycles, idle; // since the beginning, and since a beat was sent, received or shown
};

} // namespace

extern "C" {
#pragma GCC visibility push(default)

void *prunus_new(const char *waves) { return new Model(waves); }

void prunus_delete(void *handle) { delete static_cast<Model *>(handle); }

void prunus_finish_trace(void *handle) { static_cast<Model *>(handle)->finish_trace(); }

// What went wrong with the trace, as errno has it, or 0.
int64_t prunus_trace_error(void *handle) { return static_cast<Model *>(handle)->trace_error(); }

int64_t prunus_cycles(void *handle) { return int64_t(static_cast<Model *>(handle)->cycles); }

void prunus_reset(void *handle) {
    Model &model = *static_cast<Model *>(handle);
    model.top.load___05Fvalid = 0;
    model.top.i___05Fvalid = 0;
    model.top.o___05Fready = 0;
    model.top.counters___05Fready = 0;
    model.top.rst = 1;
    model.edge();
    model.top.rst = 0;
    model.edge();
}

// Sends beats to the loader, until `patience` cycles pass in which it takes none. Returns how many
// were taken. After the last ones, `more` is not set.
int64_t prunus_load(void *handle, const uint32_t *beats, int64_t count, bool more,
                    int64_t patience) {
    Model &model = *static_cast<Model *>(handle);
    Vprunus &top = model.top;
    int64_t sent = 0, idle = 0;
    while (sent < count && idle < patience) {
        top.load___05Fpayload = beats[sent];
        top.load___05Fvalid = 1;
        model.edge();
        ++idle;
        if (top.load___05Fready) {
            ++sent;
            idle = 0;
        }
    }
    if (!more) {
        top.load___05Fvalid = 0;
        model.edge();
    }
    return sent;
}

// Goes on with a run for `cycles` cycles, or until all results are there, or until `patience`
// cycles pass without a beat sent or received. Inputs are offered and results are taken as fast as
// the accelerator goes on.
void prunus_run(void *handle, Run *state, int64_t cycles, int64_t patience) {
    Model &model = *static_cast<Model *>(handle);
    Vprunus &top = model.top;
    Run run = *state;
    const int64_t beats_in = run.vectors * run.beats_in;
    const int64_t beats_out = run.vectors * run.beats_out;
    const int64_t beats_tap = run.taps ? run.vectors * run.beats_tap : 0;
    const int64_t end = run.cycles + cycles;
    while (run.received < beats_out && run.cycles < end && run.idle < patience) {
        const int64_t vector = run.sent / run.beats_in;
        const bool begun = run.sent % run.beats_in != 0;
        const bool send = run.sent < beats_in &&
                          (begun || vector < run.received / run.beats_out + run.ahead);
        if (send) write_block(top.i___05Fpayload, run.inputs + run.sent * LANES);
        top.i___05Fvalid = send;
        top.o___05Fready = 1;
        model.tracing = run.received < run.traced * run.beats_out;
        model.edge();
        if (run.seen < beats_tap && top.tap_valid) {
            read_block(top.tap, run.taps + run.seen * LANES);
            run.tapped[run.seen++] = uint64_t(run.cycles);
        }
        ++run.cycles;
        run.idle = top.tap_valid ? 0 : run.idle + 1;
        if (send && top.i___05Fready) {
            ++run.sent;
            run.idle = 0;
        }
        if (top.o___05Fvalid) {
            read_block(top.o___05Fpayload, run.outputs + run.received * LANES);
            if (++run.received % run.beats_out == 0)
                run.finished[run.received / run.beats_out - 1] = uint64_t(run.cycles);
            run.idle = 0;
        }
    }
    if (run.received == beats_out) {
        top.i___05Fvalid = 0;
        top.o___05Fready = 0;
        model.edge();
    }
    model.tracing = false;
    *state = run;
}

// Which line of the program is at hand, or -1.
int64_t prunus_line(void *handle) {
    Model &model = *static_cast<Model *>(handle);
    return model.top.running ? int64_t(model.top.layer) : -1;
}

// Receives a report that was asked for, until `patience` cycles pass without a number. Returns how
// many numbers came.
int64_t prunus_report(void *handle, uint32_t *numbers, int64_t count, int64_t patience) {
    Model &model = *static_cast<Model *>(handle);
    Vprunus &top = model.top;
    int64_t received = 0, idle = 0;
    while (received < count && idle < patience) {
        top.counters___05Fready = 1;
        model.edge();
        ++idle;
        if (top.counters___05Fvalid) {
            numbers[received++] = uint32_t(top.counters___05Fpayload);
            idle = 0;
        }
    }
    top.counters___05Fready = 0;
    model.edge();
    return received;
}

#pragma GCC visibility pop
}
