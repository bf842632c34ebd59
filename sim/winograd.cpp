// The Winograd unit behind a C interface: streams in and out, with stalls, and no call per cycle.
//
// Compiled together with what Verilator makes of the design. CODEBOOK says whether it has one. A
// beat of a stream is so many words of 32 bits, the lowest first. In Verilator's C++, two underscores
// in a name are ___05F.

#include <cstdint>
#include <memory>

#include "Vprunus.h"
#include "verilated.h"

namespace {

template <typename Port>
void put(Port &port, const uint32_t *words) {
    uint64_t bits = words[0];
    if (sizeof(Port) > 4) bits |= uint64_t(words[1]) << 32;
    port = Port(bits);
}

template <std::size_t Words>
void put(VlWide<Words> &port, const uint32_t *words) {
    for (std::size_t n = 0; n < Words; ++n) port[n] = words[n];
}

template <typename Port>
void get(const Port &port, uint32_t *words) {
    words[0] = uint32_t(port);
    if (sizeof(Port) > 4) words[1] = uint32_t(uint64_t(port) >> 32);
}

template <std::size_t Words>
void get(const VlWide<Words> &port, uint32_t *words) {
    for (std::size_t n = 0; n < Words; ++n) words[n] = port[n];
}

}  // namespace

extern "C" {

// A stream, how far it has come, and the chance, out of 256, that it stalls for a cycle.
struct Stream {
    uint32_t *beats;
    int64_t count, words, done, stall;
};

struct Run {
    Stream layer, i, biases, codebook, weights, o;
    // Cycles that each layer was busy, and the first of them.
    int64_t *busy, *begun;
    int64_t layers, finished, cycles, idle;
    uint64_t random;
};

}  // extern "C"

namespace {

// Marsaglia, "Xorshift RNGs", 2003.
uint32_t draw(Run &run) {
    run.random ^= run.random << 13;
    run.random ^= run.random >> 7;
    run.random ^= run.random << 17;
    return uint32_t(run.random >> 24);
}

class Model {
  public:
    void reset(int cycles) {
        top.layer___05Fvalid = top.i___05Fvalid = top.biases___05Fvalid = 0;
        top.weights___05Fvalid = 0;
#if CODEBOOK
        top.codebook___05Fvalid = 0;
#endif
        top.rst = 1;
        for (int n = 0; n < cycles; ++n) {
            top.eval();
            edge();
        }
        top.rst = 0;
    }

    // Runs until so many cycles have passed, all is done, or nothing happens for a while.
    void advance(Run &run, int64_t cycles, int64_t patience) {
        for (int64_t n = 0; n < cycles && run.idle < patience; ++n) {
            if (run.o.done == run.o.count && run.finished == run.layers && !top.busy) return;
            offer(run, run.layer, top.layer___05Fvalid, top.layer___05Fpayload);
            offer(run, run.i, top.i___05Fvalid, top.i___05Fpayload);
            offer(run, run.biases, top.biases___05Fvalid, top.biases___05Fpayload);
            offer(run, run.weights, top.weights___05Fvalid, top.weights___05Fpayload);
#if CODEBOOK
            offer(run, run.codebook, top.codebook___05Fvalid, top.codebook___05Fpayload);
#endif
            top.o___05Fready = (draw(run) & 255) >= uint32_t(run.o.stall);
            top.eval();

            ++run.idle;
            take(run, run.layer, top.layer___05Fvalid, top.layer___05Fready);
            take(run, run.i, top.i___05Fvalid, top.i___05Fready);
            take(run, run.biases, top.biases___05Fvalid, top.biases___05Fready);
            take(run, run.weights, top.weights___05Fvalid, top.weights___05Fready);
#if CODEBOOK
            take(run, run.codebook, top.codebook___05Fvalid, top.codebook___05Fready);
#endif
            if (top.o___05Fvalid && top.o___05Fready) {
                if (run.o.done < run.o.count)
                    get(top.o___05Fpayload, run.o.beats + run.o.done * run.o.words);
                ++run.o.done;
                run.idle = 0;
            }
            if (top.busy) {
                if (!run.busy[run.finished]++) run.begun[run.finished] = run.cycles;
            } else if (run.finished < run.layers && run.busy[run.finished]) {
                ++run.finished;
            }
            ++run.cycles;
            edge();
        }
    }

  private:
    VerilatedContext context;
    Vprunus top{&context};

    // Ends the cycle, whose low half is evaluated.
    void edge() {
        top.clk = 1;
        top.eval();
        while (withdrawals) *withdrawn[--withdrawals] = 0;
        top.clk = 0;
    }

    // What is not offered is something else.
    template <typename Payload>
    void offer(Run &run, Stream &stream, CData &valid, Payload &payload) {
        if (valid) return;
        if (stream.done < stream.count && (draw(run) & 255) >= uint32_t(stream.stall)) {
            put(payload, stream.beats + stream.done * stream.words);
            valid = 1;
        } else {
            uint32_t words[64];
            for (uint32_t &word : words) word = draw(run);
            put(payload, words);
        }
    }

    void take(Run &run, Stream &stream, CData &valid, const CData &ready) {
        if (!valid || !ready) return;
        ++stream.done;
        run.idle = 0;
        // After the edge: until then the unit sees it.
        withdrawn[withdrawals++] = &valid;
    }

    CData *withdrawn[5];
    int withdrawals = 0;
};

}  // namespace

extern "C" {

#pragma GCC visibility push(default)

void *winograd_new() { return new Model; }

void winograd_delete(void *model) { delete static_cast<Model *>(model); }

void winograd_reset(void *model, int cycles) { static_cast<Model *>(model)->reset(cycles); }

void winograd_run(void *model, Run *run, int64_t cycles, int64_t patience) {
    static_cast<Model *>(model)->advance(*run, cycles, patience);
}

#pragma GCC visibility pop

}  // extern "C"
