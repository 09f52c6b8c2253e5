// How a call of ATTENTION by blocks is cut into tasks and runs of queries, and the memory of a run.
#pragma once

#include <algorithm>

#include "../vector/stored.h"
#include "product.h"

namespace longshore::cpu::LONGSHORE_PATH {

#if defined(LONGSHORE_TILES)
constexpr int64_t kEntries = 256;
constexpr int64_t kRowUnit = kTile;   // fewest rows of a product
constexpr int64_t kSelectLanes = 64;  // of a run where each query selects its own entries, or one query's if it has more
#else
constexpr int64_t kEntries = 128;
constexpr int64_t kRowUnit = 4;
constexpr int64_t kSelectLanes = 128;
#endif
constexpr int64_t kLaneMax = 128;       // lanes of a run: scores and outputs stay in the L2 cache
constexpr int64_t kSelectQueries = 16;  // queries that share window rows where each selects its own entries
constexpr float kLowest = -0x1.fffffep127f;

using Rows = const uint8_t* [kStep];  // stored

struct RunShape {
  KvShape kv;
  int64_t rowBytes;
  int64_t steps, channels;  // of k in a row; blocks of 16 channels, two for each step, which share its groups of four (zipEven)
  int64_t queries, heads;   // of a task
  int64_t together;         // queries of a run
  int64_t lanes;            // of a run, whole blocks
  int64_t windowSteps;      // of entries

  RunShape(const AttentionArgs& a, uint32_t threads) : kv{a.layout, a.nope, a.rope}, rowBytes(kvEntryBytes(a.layout, a.nope, a.rope)), steps(stepsOf(kv.width())), channels(2 * steps) {
    together = maxOf(1, (a.sel ? kSelectLanes : kLaneMax) / lanesOfQuery(a, a.h));
    queries = minOf(a.sel ? kSelectQueries : together, blocksOf(a.T, threads));
    together = minOf(together, queries);
    const int64_t shares = blocksOf(threads, blocksOf(a.T, queries));  // few queries: threads split the heads
    heads = minOf(minOf(a.h, kLaneMax), blocksOf(blocksOf(a.h, shares), kTile) * kTile);
    lanes = blocksOf(together * lanesOfQuery(a, heads), kTile) * kTile;
    windowSteps = blocksOf(queries + a.W + kStep, kStep);
  }

  // Lanes from one query to the next.
  // Where each query has entries of its own, its lanes are whole units, in as few blocks as possible.
  static int64_t lanesOfQuery(const AttentionArgs& a, int64_t heads) {
    if (!a.sel) return heads;
    int64_t unit = kRowUnit;
    while (unit < heads && unit < kTile) unit *= 2;
    return blocksOf(heads, unit) * unit;
  }
};

// Stored rows as both operands:
// `rows` [blocks of 16 entries][steps], `values` [blocks of 16 channels][steps of entries].
struct Panel {
  Bf16* rows;
  Bf16* values;
  int64_t capacity;  // steps of entries

  Panel(Carver& c, const RunShape& s, int64_t entrySteps)
      : rows(c.take<Bf16>(2 * entrySteps * s.steps * kTileHalves)), values(c.take<Bf16>(2 * s.steps * entrySteps * kTileHalves)), capacity(entrySteps) {}
};

struct RunSpace {
  Panel block, window;
  uint8_t* zeros;  // a stored row
  float* floats;   // two rows
  Bf16* q;         // [lane blocks][steps]
  float* scores;   // [lane blocks][kEntries / 16] accumulators, entries down
  Bf16* p;         // [lane blocks][kEntries / 32] tiles
  float* largest;  // [lanes]
  float* mass;     // [lanes]
  float* out;      // [channels][lane blocks] accumulators, lanes down

  RunSpace(Carver& c, const RunShape& s)
      : block(c, s, kEntries / kStep),
        window(c, s, s.windowSteps),
        zeros(c.take<uint8_t>(s.rowBytes)),
        floats(c.take<float>(2 * s.steps * kStep)),
        q(c.take<Bf16>(s.lanes * s.steps * kStep)),
        scores(c.take<float>(s.lanes * kEntries)),
        p(c.take<Bf16>(s.lanes * kEntries)),
        largest(c.take<float>(s.lanes)),
        mass(c.take<float>(s.lanes)),
        out(c.take<float>(s.lanes * s.channels * kTile)) {}
};

// Entries [begin, end) of a block, per lane.
struct Seen {
  int32_t begin[kTile], end[kTile];

  // Some lane sees [first, last), all lanes see [allFirst, allLast).
  int64_t first() const { return *std::min_element(begin, begin + kTile); }
  int64_t last() const { return *std::max_element(end, end + kTile); }
  int64_t allFirst() const { return *std::max_element(begin, begin + kTile); }
  int64_t allLast() const { return *std::min_element(end, end + kTile); }
};

// Lanes of a run: some within one block, or whole blocks.
struct Span {
  int64_t begin, end;

  int64_t block() const { return begin / kTile; }
  int64_t blocks() const { return blocksOf(end, kTile) - block(); }
  bool has(int64_t lane) const { return lane >= begin && lane < end; }
};

}  // namespace longshore::cpu::LONGSHORE_PATH
