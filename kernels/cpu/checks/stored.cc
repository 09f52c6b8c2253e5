// KV_PACK, KV_UNPACK, KEY_PACK, KEY_UNPACK, WINDOW_PUT, COMPRESS: what becomes a stored row.
#include "operations.h"

namespace longshore::cpu {

namespace {

ls_kv_layout kvLayout(Call& c) { return static_cast<ls_kv_layout>(c.whole("layout", LS_KV_E4M3_BF16, LS_KV_BF16)); }

// FP4 keys need whole blocks of 32 and a Hadamard transform, which exists here for powers of two.
ls_key_layout keyLayout(Call& c) { return static_cast<ls_key_layout>(c.whole("layout", LS_KEY_FP4, LS_KEY_BF16)); }
void checkKeyDim(const Call& c, ls_key_layout layout, int64_t dim) {
  c.require(layout != LS_KEY_FP4 || (dim >= kKeyBlock && (dim & (dim - 1)) == 0), "FP4 keys need a dim that is a power of two and at least 32");
}

constexpr int64_t kStartMax = INT32_MAX;

}  // namespace

Work checkKvPack(Call& c) {
  Dim T{"T"}, D{"D"};
  const ls_kv_layout layout = kvLayout(c);
  const int64_t rope = c.whole("rope", 0, INT32_MAX);
  const Operand rows = c.activation("rows", {T, D});
  c.require(rope <= D, "rope is wider than the rows");
  const Operand entries = c.output("entries", {LS_U8}, {T, kvEntryBytes(layout, D - rope, rope)});
  c.finish();
  return running(&Path::kvPack, {T, D - rope, rope, layout, rows.in(), entries.data});
}

// The width of the rows comes from the output: several widths can have the same number of bytes.
Work checkKvUnpack(Call& c) {
  Dim T{"T"}, D{"D"}, bytes{"bytes"};
  const ls_kv_layout layout = kvLayout(c);
  const int64_t rope = c.whole("rope", 0, INT32_MAX);
  const Operand entries = c.input("entries", {LS_U8}, {T, bytes});
  const Operand rows = c.output("rows", {LS_F32}, {T, D});
  c.require(rope <= D && bytes == kvEntryBytes(layout, D - rope, rope), "entries do not have the bytes of such rows");
  c.finish();
  return running(&Path::kvUnpack, {T, D - rope, rope, layout, entries.data, rows.as<float>()});
}

Work checkKeyPack(Call& c) {
  Dim R{"R"}, dim{"dim"};
  const ls_key_layout layout = keyLayout(c);
  const Operand rows = c.activation("rows", {R, dim});
  checkKeyDim(c, layout, dim);
  const Operand keys = c.output("keys", {LS_U8}, {R, keyBytes(layout, dim)});
  c.finish();
  return running(&Path::keyPack, {R, dim, layout, rows.in(), keys.data});
}

Work checkKeyUnpack(Call& c) {
  Dim R{"R"}, dim{"dim"}, bytes{"bytes"};
  const ls_key_layout layout = keyLayout(c);
  const Operand keys = c.input("keys", {LS_U8}, {R, bytes});
  const Operand rows = c.output("rows", {LS_F32}, {R, dim});
  checkKeyDim(c, layout, dim);
  c.require(bytes == keyBytes(layout, dim), "keys do not have the bytes of such rows");
  c.finish();
  return running(&Path::keyUnpack, {R, dim, layout, keys.data, rows.as<float>()});
}

Work checkWindowPut(Call& c) {
  Dim T{"T"}, W{"W"}, bytes{"bytes"};
  const Operand entries = c.input("entries", {LS_U8}, {T, bytes});
  const Operand ring = c.output("ring", {LS_U8}, {W, bytes});
  c.require(W >= 1, "the ring has no rows");
  const int64_t start = c.whole("start", 0, kStartMax);
  c.finish();
  return running(&Path::windowPut, {T, W, bytes, start, entries.data, ring.data});
}

Work checkCompress(Call& c) {
  Dim T{"T"}, w{"w"}, Dc{"Dc"};
  const int64_t start = c.whole("start", 0, kStartMax), m = c.whole("m", 1, 1 << 20);
  const bool overlap = c.whole("overlap", 0, 1) == 1;
  const Operand k = c.input("k", {LS_F32}, {T, w});
  const Operand z = c.input("z", {LS_F32}, {T, w});
  const Operand ape = c.input("ape", {LS_F32}, {m, w});
  const Operand ring = c.output("ring", {LS_F32}, {overlap ? 2 * m : m, int64_t{2}, w});
  const Operand pooled = c.output("pooled", {LS_F32, LS_BF16}, {(start + T) / m - start / m, Dc});
  c.require(w == (overlap ? 2 : 1) * Dc, "k must be Dc wide, or 2*Dc with overlap");
  c.finish();
  return running(&Path::compress, {T, Dc, m, start, overlap, k.view<float>(), z.view<float>(), ape.view<float>(), ring.as<float>(), pooled.out()});
}

}  // namespace longshore::cpu
