// The accelerator behind a C interface: whole vectors in and out, no call per cycle.
//
// Compiled together with what Verilator makes of the design. Every loop is bounded by a number of
// cycles without progress.

#include <cstdint>
#include <memory>

#include "Vprunus.h"
#include "verilated.h"
#if VM_TRACE
#include "verilated_fst_c.h"
#endif

namespace {

// A payload holds lanes of equal width, the first one lowest. Verilator gives ports of up to 64
// bits an integer type, and wider ones an array of 32-bit words.
template <typename Port>
void write_bits(Port &port, unsigned at, unsigned width, uint32_t bits) {
    uint64_t mask = ((uint64_t(1) << width) - 1) << at;
    port = Port((uint64_t(port) & ~mask) | ((uint64_t(bits) << at) & mask));
}

template <std::size_t Words>
void write_bits(VlWide<Words> &port, unsigned at, unsigned width, uint32_t bits) {
    for (unsigned n = 0; n < width; ++n) {
        uint32_t bit = uint32_t(1) << ((at + n) % 32);
        uint32_t &word = port[(at + n) / 32];
        word = (bits >> n & 1) ? word | bit : word & ~bit;
    }
}

template <typename Port>
uint32_t read_bits(const Port &port, unsigned at, unsigned width) {
    return uint32_t(uint64_t(port) >> at) & uint32_t((uint64_t(1) << width) - 1);
}

template <std::size_t Words>
uint32_t read_bits(const VlWide<Words> &port, unsigned at, unsigned width) {
    uint32_t bits = 0;
    for (unsigned n = 0; n < width; ++n)
        bits |= (port[(at + n) / 32] >> ((at + n) % 32) & 1) << n;
    return bits;
}

template <typename Port>
void read_block(const Port &port, int64_t lanes, int64_t width, int16_t *block) {
    for (int64_t lane = 0; lane < lanes; ++lane) {
        uint32_t bits = read_bits(port, unsigned(lane * width), unsigned(width));
        block[lane] = int16_t(int32_t(bits << (32 - width)) >> (32 - width));
    }
}

class Model {
  public:
    explicit Model(const char *waves) : context(new VerilatedContext) {
#if VM_TRACE
        context->traceEverOn(true);
#endif
        top.reset(new Vprunus(context.get()));
#if VM_TRACE
        if (waves) {
            trace.reset(new VerilatedFstC);
            top->trace(trace.get(), 99);
            trace->open(waves);
        }
#else
        (void)waves;
#endif
        top->eval();
    }

    ~Model() {
        top->final();
#if VM_TRACE
        if (trace) trace->close();
#endif
    }

    // The inputs have been set; what the outputs say now is what the next edge acts on.
    void settle() { top->eval(); }

    void edge() {
        top->clk = 1;
        top->eval();
        dump();
        top->clk = 0;
        top->eval();
        dump();
        ++cycles;
    }

    std::unique_ptr<VerilatedContext> context;
    std::unique_ptr<Vprunus> top;
    uint64_t cycles = 0;

  private:
    void dump() {
#if VM_TRACE
        if (trace) trace->dump(half_periods);
        half_periods += 5;
#endif
    }

#if VM_TRACE
    std::unique_ptr<VerilatedFstC> trace;
    uint64_t half_periods = 0;
#endif
};

} // namespace

extern "C" {

void *prunus_new(const char *waves) { return new Model(waves); }

void prunus_delete(void *handle) { delete static_cast<Model *>(handle); }

uint64_t prunus_cycles(void *handle) { return static_cast<Model *>(handle)->cycles; }

void prunus_reset(void *handle) {
    Model &model = *static_cast<Model *>(handle);
    model.top->load___05Fvalid = 0;
    model.top->i___05Fvalid = 0;
    model.top->o___05Fready = 0;
    model.top->counters___05Fready = 0;
    model.top->rst = 1;
    model.edge();
    model.top->rst = 0;
}

// Sends beats to the loader. Returns how many were taken.
int64_t prunus_load(void *handle, const uint32_t *beats, int64_t count, int64_t patience) {
    Model &model = *static_cast<Model *>(handle);
    int64_t sent = 0;
    for (int64_t idle = 0; sent < count && idle < patience; ++idle) {
        model.top->load___05Fpayload = beats[sent];
        model.top->load___05Fvalid = 1;
        model.settle();
        if (model.top->load___05Fready) {
            ++sent;
            idle = -1;
        }
        model.edge();
    }
    model.top->load___05Fvalid = 0;
    return sent;
}

// Sends vectors and receives results, both as fast as the accelerator goes on. Each activation is
// an int16. At most `ahead` vectors are under way at a time. finished[v] is the cycle in which the
// last beat of result v was taken, counted from the call. If `taps` is not null, it receives the
// activations of all layers, `beats_tap` beats a vector, and `tapped` the cycle of each beat.
// Returns how many results came.
int64_t prunus_run(void *handle, const int16_t *inputs, int64_t vectors, int64_t beats_in,
                   int16_t *outputs, int64_t beats_out, int64_t lanes, int64_t width,
                   int64_t ahead, uint64_t *finished, int16_t *taps, uint64_t *tapped,
                   int64_t beats_tap, int64_t patience) {
    Model &model = *static_cast<Model *>(handle);
    Vprunus &top = *model.top;
    const uint64_t begin = model.cycles;
    int64_t sent = 0, received = 0, seen = 0;
    for (int64_t idle = 0; received < vectors * beats_out && idle < patience; ++idle) {
        const bool send = sent < vectors * beats_in &&
                          (sent % beats_in != 0 || sent / beats_in < received / beats_out + ahead);
        top.i___05Fvalid = send;
        if (send)
            for (int64_t lane = 0; lane < lanes; ++lane)
                write_bits(top.i___05Fpayload, unsigned(lane * width), unsigned(width),
                           uint16_t(inputs[sent * lanes + lane]));
        top.o___05Fready = 1;
        model.settle();
        const bool taken = send && top.i___05Fready;
        if (taps && top.tap_valid && seen < vectors * beats_tap) {
            read_block(top.tap, lanes, width, taps + seen * lanes);
            tapped[seen++] = model.cycles - begin;
        }
        if (top.o___05Fvalid) {
            read_block(top.o___05Fpayload, lanes, width, outputs + received * lanes);
            if (++received % beats_out == 0)
                finished[received / beats_out - 1] = model.cycles + 1 - begin;
            idle = -1;
        }
        if (taken) {
            ++sent;
            idle = -1;
        }
        model.edge();
    }
    top.i___05Fvalid = 0;
    top.o___05Fready = 0;
    return received / beats_out;
}

// Receives a report that was asked for. Returns how many numbers came.
int64_t prunus_report(void *handle, uint32_t *numbers, int64_t count, int64_t patience) {
    Model &model = *static_cast<Model *>(handle);
    int64_t received = 0;
    model.top->counters___05Fready = 1;
    for (int64_t idle = 0; received < count && idle < patience; ++idle) {
        model.settle();
        if (model.top->counters___05Fvalid) {
            numbers[received++] = uint32_t(model.top->counters___05Fpayload);
            idle = -1;
        }
        model.edge();
    }
    model.top->counters___05Fready = 0;
    return received;
}
}
