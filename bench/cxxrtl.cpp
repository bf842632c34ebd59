// Drives the accelerator that CXXRTL made: loads `beats`, sends `inputs`, writes `outputs`. Prints
// the cycles from the first input to the last output, and the processor time they took in seconds.

#include "prunus.cc"

#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <iterator>
#include <vector>

template <typename Item>
std::vector<Item> read(const char *path) {
    std::ifstream file(path, std::ios::binary);
    std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
    const Item *items = reinterpret_cast<const Item *>(bytes.data());
    return {items, items + bytes.size() / sizeof(Item)};
}

using Block = cxxrtl::value<LANES * WIDTH>;

void put(Block &block, int lane, int16_t number) {
    const int at = lane * WIDTH, shift = at % 32;
    const uint64_t bits = (uint64_t(number) & ((1ull << WIDTH) - 1)) << shift;
    block.data[at / 32] |= uint32_t(bits);
    if (shift + WIDTH > 32)
        block.data[at / 32 + 1] |= uint32_t(bits >> 32);
}

int16_t get(const Block &block, int lane) {
    const int at = lane * WIDTH, shift = at % 32;
    uint64_t bits = block.data[at / 32];
    if (shift + WIDTH > 32)
        bits |= uint64_t(block.data[at / 32 + 1]) << 32;
    return int16_t(int32_t(uint32_t(bits >> shift) << (32 - WIDTH)) >> (32 - WIDTH));
}

int main(int, char **arguments) {
    const long vectors = atol(arguments[1]), beats_in = atol(arguments[2]);
    const long beats_out = atol(arguments[3]), ahead = atol(arguments[4]);
    const auto beats = read<uint32_t>("beats");
    const auto inputs = read<int16_t>("inputs");
    std::vector<int16_t> outputs;
    cxxrtl_design::p_prunus top;
    const auto settle = [&] {
        top.p_clk.set<bool>(false);
        top.step();
    };
    const auto edge = [&] {
        top.p_clk.set<bool>(true);
        top.step();
    };

    top.p_rst.set<bool>(true);
    settle();
    edge();
    top.p_rst.set<bool>(false);
    top.p_load____valid.set<bool>(true);
    for (size_t sent = 0; sent < beats.size();) {
        top.p_load____payload.set<uint32_t>(beats[sent]);
        settle();
        sent += top.p_load____ready.get<bool>();
        edge();
    }
    top.p_load____valid.set<bool>(false);

    const auto begin = std::clock();
    long sent = 0, received = 0, cycles = 0;
    top.p_o____ready.set<bool>(true);
    for (; received < vectors * beats_out; ++cycles) {
        const bool begun = sent % beats_in != 0;
        const bool send = sent < vectors * beats_in &&
                          (begun || sent / beats_in < received / beats_out + ahead);
        top.p_i____valid.set<bool>(send);
        if (send) {
            Block block;
            for (int lane = 0; lane < LANES; ++lane)
                put(block, lane, inputs[sent * LANES + lane]);
            top.p_i____payload = block;
        }
        settle();
        sent += send && top.p_i____ready.get<bool>();
        if (top.p_o____valid.get<bool>()) {
            ++received;
            const Block block = top.p_o____payload.slice<LANES * WIDTH - 1, 0>().val();
            for (int lane = 0; lane < LANES; ++lane)
                outputs.push_back(get(block, lane));
        }
        edge();
    }
    const auto seconds = double(std::clock() - begin) / CLOCKS_PER_SEC;
    std::ofstream("outputs", std::ios::binary)
        .write(reinterpret_cast<const char *>(outputs.data()), outputs.size() * sizeof(int16_t));
    printf("%ld %f\n", cycles, seconds);
}
