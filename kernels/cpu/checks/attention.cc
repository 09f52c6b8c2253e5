// SELECT and ATTENTION: the operations that read rows through a list of pages.
#include <algorithm>

#include "../memory.h"
#include "operations.h"

namespace longshore::cpu {

namespace {

constexpr int64_t kStartMax = INT32_MAX;
constexpr int64_t kPageMax = INT64_C(1) << 40;

// sel as SELECT writes it: ascending entries that the row may see, then -1.
void checkSelection(const Inspector& look, const AttentionArgs& a) {
  for (int64_t i = 0; i < a.T; i++) {
    const int64_t visible = a.visible(i);
    for (int64_t j = 0; j < a.K; j++) {
      const int32_t entry = a.sel[i * a.K + j], before = j > 0 ? a.sel[i * a.K + j - 1] : -1;
      const bool chosen = entry >= 0 && entry < visible && (j == 0 || (before >= 0 && before < entry));
      if (entry != -1 && !chosen)
        look.fail("sel[" + std::to_string(i) + ", " + std::to_string(j) + "] = " + std::to_string(entry) + " is not ascending and visible");
    }
  }
}

// The quick check: a context of a million tokens has thousands of pages, so only a wrong one is inspected in full.
bool isPage(const ls_tensor& page, int64_t least) {
  return page.buffer != nullptr && numberOf(page.dtype) == LS_U8 && page.rank == 1 && page.shape[0] >= least && page.shape[0] <= INT32_MAX &&
         holds(*page.buffer, page.offset, static_cast<uint64_t>(page.shape[0]));
}

Operand pageOperand(const Inspector& look, const ls_tensor& page, int64_t p) {
  Dim bytes{"bytes"};
  return look.tensor("page " + std::to_string(p), page, {LS_U8}, {bytes});
}

[[noreturn]] void failPage(const Inspector& look, const ls_tensor& page, int64_t p) {
  const Operand operand = pageOperand(look, page, p);
  look.fail(operand.name + " of " + std::to_string(operand.bytes) + " bytes is too small for its rows");
}

// From the first byte that a call writes to the last: only a page that meets it is inspected in full.
struct Span {
  const uint8_t* begin;
  const uint8_t* end;
  bool meets(const uint8_t* at, int64_t bytes) const { return at < end && begin < at + bytes; }
};

Span spanOf(std::initializer_list<const Operand*> outputs) {
  Span span{nullptr, nullptr};
  for (const Operand* output : outputs) {
    if (!output->present) continue;
    span.begin = span.begin == nullptr ? output->data : std::min<const uint8_t*>(span.begin, output->data);
    span.end = std::max<const uint8_t*>(span.end, output->data + output->bytes);
  }
  return span;
}

// Addresses of the first row of each page (U8), for as many pages as hold rows [0, visible).
// None of these overlaps an output.
std::vector<const uint8_t*> readPages(const Inspector& look, ls_list& list, int64_t visible, int64_t pageOffset, int64_t rowsPerPage, int64_t rowBytes,
                                      std::initializer_list<const Operand*> outputs) {
  const std::lock_guard<std::mutex> turn(list.mutex);
  const int64_t needed = (visible + rowsPerPage - 1) / rowsPerPage;
  if (needed > static_cast<int64_t>(list.tensors.size()))
    look.fail(std::to_string(visible) + " rows are visible, but the list has only " + std::to_string(list.tensors.size()) + " pages of " +
              std::to_string(rowsPerPage));
  std::vector<const uint8_t*> pages(static_cast<size_t>(needed));
  const Span written = spanOf(outputs);
  for (int64_t p = 0; p < needed; p++) {
    const int64_t least = pageOffset + std::min(rowsPerPage, visible - p * rowsPerPage) * rowBytes;
    const ls_tensor& page = list.tensors[static_cast<size_t>(p)];
    if (!isPage(page, least)) failPage(look, page, p);
    const uint8_t* const at = page.buffer->data + page.offset;
    if (written.meets(at, page.shape[0]))
      for (const Operand* output : outputs) look.apart(*output, pageOperand(look, page, p));
    pages[static_cast<size_t>(p)] = at + pageOffset;
  }
  return pages;
}

}  // namespace

Work checkSelect(Call& c) {
  Dim T{"T"}, h{"h"}, K{"K"}, S{"S"};
  const int64_t start = c.whole("start", 0, kStartMax), m = c.whole("m", 1, INT32_MAX);
  const auto layout = static_cast<ls_key_layout>(c.whole("layout", LS_KEY_FP4, LS_KEY_BF16));
  const int64_t dim = c.whole("dim", 1, INT32_MAX);
  c.require(layout != LS_KEY_FP4 || dim % kKeyBlock == 0, "FP4 keys need a dim that is a multiple of 32");
  const int64_t pageOffset = c.whole("page_offset", 0, kPageMax), rowsPerPage = c.whole("rows_per_page", 1, INT32_MAX), bytes = keyBytes(layout, dim);
  const float scale = static_cast<float>(c.number("scale"));

  const Operand iq = c.input("iq", {LS_U8}, {T, h, bytes});
  const Operand iw = c.input("iw", {LS_F32}, {T, h});
  ls_list* list = c.list("keys", false);
  const Operand sel = c.output("sel", {LS_I32}, {T, K});
  const Operand scores = c.optionalOutput("scores", {LS_F32}, {T, S});
  const int64_t visible = T > 0 ? (start + T) / m : 0;
  c.require(!scores.present || S >= visible, "scores has fewer columns than visible keys");
  c.finish();
  if (c.dry() || T == 0) return {};

  SelectArgs args{T, h, dim, K, start, m, layout, scale, iq.data, iw.view<float>(), {nullptr, rowsPerPage, bytes}, sel.as<int32_t>(),
                  scores.as<float>(), scores.present ? S.value : 0};
  return [args, pages = readPages(c, *list, visible, pageOffset, rowsPerPage, bytes, {&sel, &scores})](const Path& path, Pool& pool) mutable {
    args.keys.pages = pages.data();
    path.select(args, pool);
  };
}

Work checkAttention(Call& c) {
  Dim T{"T"}, h{"h"}, D{"D"}, W{"W"}, K{"K"};
  const int64_t start = c.whole("start", 0, kStartMax), first = c.whole("first", 0, kStartMax), m = c.whole("m", 0, INT32_MAX);
  const auto layout = static_cast<ls_kv_layout>(c.whole("layout", LS_KV_E4M3_BF16, LS_KV_BF16));
  const int64_t rope = c.whole("rope", 0, INT32_MAX);
  const int64_t pageOffset = c.whole("page_offset", 0, kPageMax), rowsPerPage = c.whole("rows_per_page", 1, INT32_MAX);
  const float scale = static_cast<float>(c.number("scale"));
  c.require(first <= start, "first lies behind start");

  const Operand q = c.activation("q", {T, h, D});
  c.require(rope <= D, "rope is wider than the heads");
  const int64_t bytes = kvEntryBytes(layout, D - rope, rope);
  const Operand fresh = c.input("fresh", {LS_U8}, {T, bytes});
  const Operand ring = c.input("ring", {LS_U8}, {W, bytes});
  c.require(W >= 1, "the ring has no rows");
  const Operand sink = c.input("sink", {LS_F32}, {h});
  const Operand sel = c.optional("sel", {LS_I32}, {T, K});
  ls_list* list = c.list("pages", true);
  const Operand o = c.activationOutput("o", {T, h, D});
  c.require(m > 0 || !sel.present, "sel needs m > 0");
  c.finish();
  if (c.dry() || T == 0) return {};

  const int64_t visible = m > 0 ? (start + T) / m : 0;
  c.require(visible == 0 || list != nullptr, "entries are visible, but there are no pages");
  std::vector<const uint8_t*> pages;
  if (visible > 0) pages = readPages(c, *list, visible, pageOffset, rowsPerPage, bytes, {&o});
  AttentionArgs args{T, h, D - rope, rope, W, sel.present ? K.value : 0, start, first, m, layout, scale, q.in(), fresh.data, ring.data, bytes,
                     sink.view<float>(), sel.view<int32_t>(), {nullptr, rowsPerPage, bytes}, o.out()};
  return [args, pages = std::move(pages), look = Inspector(c)](const Path& path, Pool& pool) mutable {
    if (args.sel) checkSelection(look, args);
    args.pages.pages = pages.data();
    path.attention(args, pool);
  };
}

}  // namespace longshore::cpu
