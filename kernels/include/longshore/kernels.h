/* The border between the engine and the hardware: a C ABI that suits a device as well as a CPU.
 *
 * A backend is a shared object that exports ls_backend_entry. It owns memory (buffers), order (streams) and arithmetic
 * (operations). The engine never touches a float: it names operations on tensors, in order, and waits once per chunk
 * or step.
 *
 *   buffer   a span of memory the backend can compute on; reference counted; may be a read-only mapping of a file
 *   tensor   a dense row-major view into a buffer: plain data, owned by nobody
 *   list     a growable array of tensors behind one handle: the pages of a sequence's KV, or the experts of a layer
 *   stream   operations run in the order they were enqueued, as if one after the other; errors stick until ls_wait
 *   path     one way of computing (reference, avx2, avx512, ...). Same path + same inputs = same bits, whatever the
 *            batch, the chunk or the number of threads (design, invariant I7)
 *
 * Errors   Every function that can fail returns ls_status; the message (UTF-8, owned by the backend, per thread) says
 *          what to do.
 * Threads  Buffers and lists may be used from any thread. A stream belongs to one thread at a time.
 * Ties     Wherever two values compare equal, the lower index wins.
 *
 * Order    A row of an output depends on the same row of the inputs alone. An output overlaps no other operand, nor
 *          what a call reads of a list (pages with rows that are visible, experts that idx names), except where the
 *          table says "in place" or "may be".
 *
 * Notation in the operation table: A = the activation type, F32 (exact mode) or BF16 (serving mode), the same for every
 * A of one call. [T, C] are shapes. "p: x, y" are the call's scalar parameters in order. "spec n" = the model
 * specification, section n.
 */
#ifndef LONGSHORE_KERNELS_H
#define LONGSHORE_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LS_ABI_VERSION 3u
#define LS_EXPORT __attribute__((visibility("default")))

typedef enum ls_status {
  LS_OK = 0,
  LS_INVALID = 1,     /* shapes, dtypes or parameters that no backend could take: a bug of the caller */
  LS_UNSUPPORTED = 2, /* legal, but not on this backend or path; ls_supports says so beforehand */
  LS_MEMORY = 3,      /* out of memory */
  LS_IO = 4,          /* a file could not be mapped */
  LS_INTERNAL = 5     /* a bug of the backend */
} ls_status;

typedef enum ls_dtype {
  LS_F32 = 0,
  LS_BF16 = 1,
  LS_F8_E4M3 = 2, /* fn: bias 7, max 448, no infinities, 0x7F and 0xFF NaN */
  LS_F8_E8M0 = 3, /* 2^(byte - 127); 255 = NaN */
  LS_F4_E2M1 = 4, /* two per byte, low nibble first; shape counts values, not bytes */
  LS_I32 = 5,
  LS_I64 = 6,
  LS_U8 = 7
} ls_dtype;

/* How one KV row (window or compressed entry) or one index key lies in memory. Part of every segment key.
 *
 *   KV row of `nope + rope` values
 *   LS_KV_E4M3_BF16  nope E4M3 | rope bf16 | ceil(nope/64) E8M0 | 0…8
 *   LS_KV_E4M3_F32   nope E4M3 | rope f32  | ceil(nope/64) E8M0 | 0…8
 *   LS_KV_F32        nope f32 | rope f32
 *   LS_KV_BF16       nope bf16 | rope bf16
 *
 *   index key of `dim` values
 *   LS_KEY_FP4       dim/2 nibbles | dim/32 E8M0  (after Hadamard * dim^-0.5)
 *   LS_KEY_F32       dim f32   (no Hadamard)
 *   LS_KEY_BF16      dim bf16  (no Hadamard)
 *
 * "0…8": zero bytes up to a multiple of 8. E4M3_BF16 + FP4 is the trained layout; the f32 RoPE serves exact mode; F32
 * and BF16 are the plain-precision switch in exact and serving mode. */
typedef enum ls_kv_layout { LS_KV_E4M3_BF16 = 0, LS_KV_E4M3_F32 = 1, LS_KV_F32 = 2, LS_KV_BF16 = 3 } ls_kv_layout;
typedef enum ls_key_layout { LS_KEY_FP4 = 0, LS_KEY_F32 = 1, LS_KEY_BF16 = 2 } ls_key_layout;

typedef struct ls_backend ls_backend; /* one opened path with its threads */
typedef struct ls_buffer ls_buffer;
typedef struct ls_list ls_list;
typedef struct ls_stream ls_stream;

typedef struct ls_tensor {
  ls_buffer* buffer; /* NULL = the optional operand is absent */
  ls_list* list;     /* set instead of buffer where the table says "list" */
  uint64_t offset;   /* bytes from the start of the buffer; inputs may lie at any byte, outputs at a multiple of their element */
  ls_dtype dtype;
  uint32_t rank; /* 0..4 */
  int64_t shape[4];
} ls_tensor;

/* How far a path may differ from the reference path on the same inputs (conformance suite). */
typedef enum ls_tolerance {
  LS_BITS = 0, /* equal bytes on every path */
  LS_REL = 1   /* |y - ref| <= 1e-5 * scale, scale = the largest |ref| of the row; for BF16 outputs one step of bf16
                * more, since y and ref are both rounded (each within 2^-8 of its value) */
} ls_tolerance;

typedef enum ls_op {
  /* EMBED       ids I32[T], table (BF16|F32)[V,d]  ->  streams A[T,n,d]
   *             n identical copies. ids in [0,V). BITS */
  LS_EMBED = 0,
  /* RMS_NORM    x A[R,C], w (BF16|F32)[C] or absent  ->  y A[R,C] (may be x)
   *             p: eps. fp32 inside, one rounding. spec 2.0, 2.3. REL */
  LS_RMS_NORM = 1,
  /* LINEAR      x A[T,g*K], w (F32|BF16|E4M3|E2M1)[g*N,K], scale E8M0 or absent  ->  y (A|F32)[T,g*N]
   *             p: g (groups, 1 = plain)
   *             y[t, j*N+i] = sum_k x[t, j*K+k] * w[j*N+i, k]
   *             scale: E4M3 [ceil(gN/128), ceil(K/128)], E2M1 [gN, K/32], none otherwise. Weights are used as
   *             dequantised values (exact in bf16); activations are never quantised. spec 2.8, 4.4. REL */
  LS_LINEAR = 2,
  /* HC_PRE      streams A[T,n,d], fn F32[(2+n)n, n*d], base F32[(2+n)n], scale F32[3]
   *             ->  x A[T,d], post F32[T,n], comb F32[T,n,n]
   *             p: rms_eps, hc_eps, sinkhorn_iters. spec 2.1. REL */
  LS_HC_PRE = 3,
  /* HC_POST     y A[T,d], streams A[T,n,d], post F32[T,n], comb F32[T,n,n]
   *             ->  streams' A[T,n,d] (may be `streams` itself). REL */
  LS_HC_POST = 4,
  /* HC_HEAD     streams A[T,n,d], fn F32[n, n*d], base F32[n], scale F32[1]  ->  h A[T,d]
   *             p: rms_eps, hc_eps. REL */
  LS_HC_HEAD = 5,
  /* ROPE_TABLE  positions I32[T], freqs F32[R/2]
   *             ->  table F32[T,R/2,2] = cos, sin of fp32(position)*fp32(freq) rounded to fp32. spec 2.2. REL */
  LS_ROPE_TABLE = 6,
  /* ROPE        x A[T,h,D] in place, table F32[T,R/2,2]
   *             p: sign (+1, or -1 = inverse). Rotates adjacent pairs of the last R channels. REL */
  LS_ROPE = 7,
  /* KV_PACK     rows A[T,D]  ->  entries U8[T,bytes]
   *             p: layout (ls_kv_layout), rope. Finite values only. spec 6.2. BITS */
  LS_KV_PACK = 8,
  /* KV_UNPACK   entries U8[T,bytes]  ->  rows F32[T,D]
   *             p: layout, rope. BITS */
  LS_KV_UNPACK = 9,
  /* KEY_PACK    rows A[R,dim]  ->  keys U8[R,bytes]
   *             p: layout (ls_key_layout). The Hadamard sums are butterflies of stride 1, 2, 4, ... in fp32, then
   *             * fp32(dim^-0.5): the same bits on every path. spec 2.4, 6.2. BITS */
  LS_KEY_PACK = 10,
  /* KEY_UNPACK  keys U8[R,bytes]  ->  rows F32[R,dim]
   *             p: layout. BITS */
  LS_KEY_UNPACK = 11,
  /* WINDOW_PUT  entries U8[T,bytes]  ->  ring U8[W,bytes]
   *             p: start. Row of position t goes to slot t mod W; the last min(T,W) are kept. BITS */
  LS_WINDOW_PUT = 12,
  /* COMPRESS    k F32[T,w], z F32[T,w] (without ape), ape F32[m,w], ring F32[s,2,w] in place  ->  pooled A[windows, Dc]
   *             p: start, m, overlap (0|1). overlap: w = 2*Dc, s = 2m; else w = Dc, s = m.
   *             Position t keeps (k, z + ape[t mod m]) in ring slot t mod s. Emits the windows that complete in
   *             [start, start+T): windows = (start+T)/m - start/m. spec 2.4. REL */
  LS_COMPRESS = 13,
  /* SELECT      iq U8[T,h,bytes] (packed like keys), iw F32[T,h], keys list (pages)
   *             ->  sel I32[T,K], scores F32[T,S] or absent
   *             p: start, m, layout (ls_key_layout), dim, page_offset, rows_per_page, scale
   *             A page is U8[bytes]; row s lies in page s / rows_per_page at page_offset + (s mod rows_per_page) * row
   *             bytes. Row i sees v = (start+i+1)/m keys; I = sum_h relu(iq_h . key) * (iw_h * scale), heads in order.
   *             sel = the min(K, v) best, ascending by index, padded with -1. scores (for tests): columns >= v are
   *             -inf. spec 2.5. sel: BITS for FP4 keys; scores: REL */
  LS_SELECT = 14,
  /* ATTENTION   q A[T,h,D], fresh U8[T,bytes], ring U8[W,bytes], sink F32[h], sel I32[T,K] or absent,
   *             pages list or absent  ->  o A[T,h,D]
   *             p: start, first, m, layout (ls_kv_layout), rope, page_offset, rows_per_page, scale
   *             Row i, position t = start+i, attends to window rows of positions max(first, t-W+1)..t, first <= start
   *             (position < start: ring slot position mod W, else fresh[position-start]) and, if m > 0, to compressed
   *             entries: those in sel (as SELECT writes it), or all (t+1)/m where sel is absent. Pages as in SELECT.
   *             One softmax over all, sink as extra denominator mass. o is not un-rotated. spec 2.3.
   *             BF16: exp(score - largest) is rounded to bf16 before it weighs the values, not in the denominator (spec
   *             2.3, 6.1); `largest` may be that of the entries so far, with the sums scaled when it grows.
   *             REL; with BF16 activations 2^-8 * scale, as for EXPERTS */
  LS_ATTENTION = 15,
  /* ROUTE       logits F32[T,E], bias F32[E] or absent, table I64[V,k] or absent, ids I32[T] or absent
   *             ->  idx I32[T,k], weights F32[T,k]
   *             p: routed_scaling. Scores sqrt(softplus); top-k of score+bias, or table[id]. Slots ascend by expert.
   *             spec 2.7. REL */
  LS_ROUTE = 16,
  /* EXPERTS     x A[T,d], idx I32[T,k] or absent, weights F32[T,k] or absent, experts list
   *             ->  y F32[T,d] (overwritten)
   *             p: limit. The list holds w1, s1, w3, s3, w2, s2 per expert (scales absent for BF16/F32). Absent idx:
   *             every row to expert 0, weight 1.
   *             hdn = A(w * silu(min(w1 x, limit)) * clamp(w3 x, -limit, limit)); y = sum over slots in order.
   *             spec 2.7. REL; with BF16 activations 2^-8 * scale, because hdn next to a rounding tie may fall either
   *             way */
  LS_EXPERTS = 17,
  /* ADD         a (A|F32)[R,C], b (A|F32)[R/r,C]  ->  y (A|F32)[R,C] = a[i] + b[i / r] (may be a)
   *             p: r (1 = elementwise). REL */
  LS_ADD = 18,
  /* GATHER      x any[R,C], rows I32[N]  ->  y same[N,C]. BITS */
  LS_GATHER = 19,
  /* CAST        x (F32|BF16)[any]  ->  y (F32|BF16), same shape, round to nearest even. BITS */
  LS_CAST = 20,
  LS_OP_COUNT = 21
} ls_op;

typedef struct ls_path_info {
  const char* name;   /* "reference", "avx2", "avx512", ... */
  int32_t available;  /* 1 = runs natively on this machine */
  const char* reason; /* why not, for people; "" if available */
} ls_path_info;

typedef struct ls_backend_api {
  uint32_t abi_version;
  const char* name; /* "cpu", "ascend" */

  /* All paths this backend knows, best last. The array lives as long as the library. */
  ls_status (*paths)(const ls_path_info** infos, size_t* count);
  /* threads >= 1 includes the calling thread. path NULL = the best available. */
  ls_status (*open)(const char* path, uint32_t threads, ls_backend** out);
  void (*close)(ls_backend*);
  const char* (*last_error)(void);

  /* Zero-filled memory, 64-byte aligned. */
  ls_status (*buffer_create)(uint64_t bytes, ls_buffer** out);
  /* A buffer for one of many spans of this size, 64-byte aligned: part of a larger one whose memory is reused.
   * Zero-filled only if `zero` is not 0. */
  ls_status (*page_create)(uint64_t bytes, uint32_t zero, ls_buffer** out);
  /* The buffer that a page is a part of, which lives as long as the library; for another buffer, itself. */
  ls_buffer* (*buffer_whole)(ls_buffer*);
  /* Maps the whole file, read-only and shared; its pages are read when touched. A backend may look at what the system's
   * cache holds of it, wait for what is not on disk yet, and drop it from the cache, so that it is read in pages that
   * suit the hardware. Writing to it is LS_INVALID. Truncating the file while it is mapped ends the process (SIGBUS):
   * replace files of a model, never write into them. */
  ls_status (*buffer_map)(const char* path, ls_buffer** out);
  /* Called by the buffer's maker. Lists that name the buffer have references of their own. */
  void (*buffer_release)(ls_buffer*);
  /* Host address of the bytes, or NULL if the host cannot address the memory. */
  uint8_t* (*buffer_host)(ls_buffer*, uint64_t* bytes);
  /* For buffers that nothing enqueued uses. The only way into and out of memory without a host address. The engine,
   * which reads the bytes themselves, does not take such a backend yet. */
  ls_status (*buffer_read)(ls_buffer*, uint64_t offset, void* to, uint64_t bytes);
  ls_status (*buffer_write)(ls_buffer*, uint64_t offset, const void* from, uint64_t bytes);

  /* A list retains the buffers it names. */
  ls_status (*list_create)(ls_list** out);
  ls_status (*list_append)(ls_list*, const ls_tensor*);
  void (*list_release)(ls_list*);

  ls_status (*stream_create)(ls_backend*, ls_stream** out);
  void (*stream_release)(ls_stream*);
  /* tensors: inputs then outputs in the order of the table (x in place: once, where it stands as an input), absent ones
   * with NULL buffer and list. Until wait returns, operands must stay alive, nobody else may write to them, and results
   * may not be there yet, not for other streams either; a call may see nothing of what is appended to a list meanwhile.
   * An error is reported here or when the call runs, at wait at the latest. Calls before it may then not have run, and
   * everything is skipped with the same failure until wait. */
  ls_status (*enqueue)(ls_stream*, ls_op, const ls_tensor* tensors, uint32_t tensor_count, const double* params, uint32_t param_count);
  /* Returns the first error since the last wait, and clears it. */
  ls_status (*wait)(ls_stream*);

  /* LS_OK, or LS_UNSUPPORTED with the reason in last_error.
   * Inspects dtypes, shapes and parameters only; absent = rank 0. */
  ls_status (*supports)(ls_backend*, ls_op, const ls_tensor* tensors, uint32_t tensor_count, const double* params, uint32_t param_count);
  ls_tolerance (*tolerance)(ls_op, uint32_t output); /* output 0 = the first one */
} ls_backend_api;

/* The one exported symbol. NULL if the backend does not speak abi_version. */
LS_EXPORT const ls_backend_api* ls_backend_entry(uint32_t abi_version);

#ifdef __cplusplus
}
#endif
#endif
