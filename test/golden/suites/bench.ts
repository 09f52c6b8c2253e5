import {
  type Backend,
  bytesIn,
  type Dtype,
  floats,
  from,
  type KeyLayout,
  keyBytes,
  kvEntryBytes,
  type NativeBuffer,
  openBackend,
  type Stream,
  type Tensor,
  zeros,
} from "../../../services/shared/engine/kernels.ts";

/** Single operations on JavaScript arrays, for suites that test formats. F32 throughout. */
export class Bench {
  readonly ops: Stream;
  readonly #backend: Backend;
  readonly #buffers: NativeBuffer[] = [];

  constructor(kernelPath: string) {
    this.#backend = openBackend({ path: kernelPath, threads: 1 });
    this.ops = this.#backend.createStream();
  }

  f32(values: ArrayLike<number>, shape: readonly number[] = [values.length]): Tensor {
    return this.#own(from("F32", shape, Float32Array.from(values)));
  }

  i32(values: ArrayLike<number>): Tensor {
    return this.#own(from("I32", [values.length], Int32Array.from(values)));
  }

  bytes(values: ArrayLike<number>, shape: readonly number[]): Tensor {
    return this.#own(from("U8", shape, Uint8Array.from(values)));
  }

  zeros(dtype: Dtype, shape: readonly number[]): Tensor {
    return this.#own(zeros(dtype, shape));
  }

  read(t: Tensor): Float32Array {
    this.ops.wait();
    return floats(t);
  }

  /** One row of 64 NoPE values, and what the trained layout makes of it: codes, the scale byte, the values again. */
  packKv(values: ArrayLike<number>): { codes: Uint8Array; scale: number; values: Float32Array } {
    const entries = this.zeros("U8", [1, kvRowBytes]);
    const row = new Float32Array(NOPE + ROPE);
    row.set(Array.from(values));
    this.ops.kvPack({ rows: this.f32(row, [1, row.length]), entries, kvLayout, rope: ROPE });
    this.ops.wait();
    const packed = bytesIn(entries).slice();
    return { codes: packed.subarray(0, NOPE), scale: packed[scaleAt]!, values: this.unpackKv(packed) };
  }

  /** 64 codes and their scale byte as values. */
  kvValues(codes: ArrayLike<number>, scale: number): Float32Array {
    const packed = new Uint8Array(kvRowBytes);
    packed.set(Array.from(codes));
    packed[scaleAt] = scale;
    return this.unpackKv(packed);
  }

  /** What each E4M3 code is worth as a weight of scale 1: column 0 of a matrix that is zero elsewhere. */
  weightValues(codes: number): Float32Array {
    const K = 128;
    const w = {
      ...this.bytes(
        Uint8Array.from({ length: codes * K }, (_, i) => (i % K === 0 ? i / K : 0)),
        [codes, K],
      ),
      dtype: "F8_E4M3" as const,
    };
    const blocks = Math.ceil(codes / 128);
    const scale = { ...this.bytes(new Uint8Array(blocks).fill(127), [blocks, 1]), dtype: "F8_E8M0" as const };
    const x = this.f32(
      Float32Array.from({ length: K }, (_, k) => (k === 0 ? 1 : 0)),
      [1, K],
    );
    const y = this.zeros("F32", [1, codes]);
    this.ops.linear({ x, w, scale, y, groups: 1 });
    return this.read(y);
  }

  unpackKv(packed: Uint8Array): Float32Array {
    const rows = this.zeros("F32", [1, NOPE + ROPE]);
    this.ops.kvUnpack({ entries: this.bytes(packed, [1, kvRowBytes]), rows, kvLayout, rope: ROPE });
    return this.read(rows).subarray(0, NOPE);
  }

  /** One index key of the trained layout: `dim / 2` bytes of nibbles, then the scales. */
  packKey(values: ArrayLike<number>): Uint8Array {
    const keys = this.zeros("U8", [1, keyBytes(keyLayout, values.length)]);
    this.ops.keyPack({ rows: this.f32(values, [1, values.length]), keys, keyLayout });
    this.ops.wait();
    return bytesIn(keys).slice();
  }

  unpackKey(packed: Uint8Array, dim: number): Float32Array {
    const rows = this.zeros("F32", [1, dim]);
    this.ops.keyUnpack({ keys: this.bytes(packed, [1, packed.length]), rows, keyLayout });
    return this.read(rows);
  }

  release(): void {
    this.ops.release();
    for (const buffer of this.#buffers) buffer.release();
    this.#backend.close();
  }

  #own(t: Tensor): Tensor {
    this.#buffers.push(t.buffer);
    return t;
  }
}

const kvLayout = "e4m3_f32";
const keyLayout: KeyLayout = "fp4";
const NOPE = 64;
const ROPE = 2;
const kvRowBytes = kvEntryBytes(kvLayout, NOPE, ROPE);
const scaleAt = NOPE + 4 * ROPE;
