import { createBuffer, type NativeBuffer } from "./memory.ts";
import { calling, native } from "./native.ts";

/** Named as in safetensors, in the order of ls_dtype (kernels.h). F4_E2M1: two values a byte, the low nibble first. */
const dtypes = ["F32", "BF16", "F8_E4M3", "F8_E8M0", "F4_E2M1", "I32", "I64", "U8"] as const;
export type Dtype = (typeof dtypes)[number];
/** The dtype of activations: F32 in exact mode, BF16 in serving mode. */
export type Activation = "F32" | "BF16";

/** Dense and row-major over a span of a buffer. Borrows the buffer: plain data that owns nothing. `offset` in bytes. */
export interface Tensor {
  readonly buffer: NativeBuffer;
  readonly offset: number;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
}

export const tensor = (buffer: NativeBuffer, dtype: Dtype, shape: readonly number[], offset = 0): Tensor => ({
  buffer,
  offset,
  dtype,
  shape,
});

/** A zero tensor in a buffer of its own, which the caller releases. */
export const zeros = (dtype: Dtype, shape: readonly number[]): Tensor => tensor(createBuffer(bytesOf(dtype, shape)), dtype, shape);

/** Rows [start, start + count) of the first axis. */
export function rows(t: Tensor, start: number, count: number): Tensor {
  const [length = 0, ...rest] = t.shape;
  if (start < 0 || count < 0 || start + count > length) throw new RangeError(`rows ${start}..${start + count} of ${length}`);
  return tensor(t.buffer, t.dtype, [count, ...rest], t.offset + start * bytesOf(t.dtype, rest));
}

/** The same bytes under another shape of as many values. */
export function reshape(t: Tensor, shape: readonly number[]): Tensor {
  if (count(shape) !== count(t.shape)) throw new RangeError(`[${t.shape}] cannot become [${shape}]`);
  return tensor(t.buffer, t.dtype, shape, t.offset);
}

export const count = (shape: readonly number[]): number => shape.reduce((product, size) => product * size, 1);

function bytesOf(dtype: Dtype, shape: readonly number[]): number {
  const values = count(shape);
  return dtype === "F4_E2M1" ? values / 2 : values * elementBytes[dtype];
}

/** Rounded up to whole cache lines: each of several tensors in one buffer begins on a line. */
export const bytesInLines = (dtype: Dtype, shape: readonly number[]): number => Math.ceil(bytesOf(dtype, shape) / CACHE_LINE) * CACHE_LINE;

const CACHE_LINE = 64;

const elementBytes: Readonly<Record<Dtype, number>> = { F32: 4, BF16: 2, F8_E4M3: 1, F8_E8M0: 1, F4_E2M1: 0.5, I32: 4, I64: 8, U8: 1 };

type Values = Float32Array | Int32Array | BigInt64Array | Uint16Array | Uint8Array;

/**
 * Copies values of the tensor's own width into it:
 * Float32Array for F32, Uint16Array for the bits of BF16, Uint8Array for all packed dtypes.
 */
export function upload(t: Tensor, values: Values): Tensor {
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  if (bytes.length !== bytesOf(t.dtype, t.shape)) throw new RangeError(`${bytes.length} bytes for ${t.dtype} [${t.shape}]`);
  bytesIn(t).set(bytes);
  return t;
}

/** A new buffer with these values. */
export const from = (dtype: Dtype, shape: readonly number[], values: Values): Tensor => upload(zeros(dtype, shape), values);

/** The tensor's bytes in place; valid until the buffer is released. */
export const bytesIn = (t: Tensor): Uint8Array => t.buffer.view(t.offset, bytesOf(t.dtype, t.shape));

/** A copy of an F32 or BF16 tensor's values. */
export function floats(t: Tensor): Float32Array {
  const bytes = bytesIn(t).slice();
  if (t.dtype === "F32") return new Float32Array(bytes.buffer);
  if (t.dtype !== "BF16") throw new TypeError(`${t.dtype} has no plain floats`);
  const wide = new Uint32Array(new Uint16Array(bytes.buffer)).map((bits) => bits << 16);
  return new Float32Array(wide.buffer);
}

/** A copy of an I32 tensor's values. */
export function ints(t: Tensor): Int32Array {
  if (t.dtype !== "I32") throw new TypeError(`${t.dtype} is not I32`);
  return new Int32Array(bytesIn(t).slice().buffer);
}

/**
 * A growing list of tensors behind one handle: the pages of a sequence, the experts of a layer. Retains their buffers.
 */
export class TensorList {
  readonly #handle: number;
  #released = false;

  constructor() {
    const { native: n, library } = native();
    this.#handle = calling(() => n.listCreate(library));
  }

  get handle(): number {
    if (this.#released) throw new TypeError("this list was released");
    return this.#handle;
  }

  /** null takes the place of an absent operand, such as the scale of a plain weight. */
  append(t: Tensor | null): void {
    writeTensor(scratch, 0, t);
    calling(() => native().native.listAppend(this.handle, scratch, TENSOR_NUMBERS));
  }

  release(): void {
    if (this.#released) return;
    this.#released = true;
    native().native.release(this.#handle);
  }
}

/** Numbers that describe one operand to the addon (kernels/node/command.h). */
export const TENSOR_NUMBERS = 9;
const scratch = new Float64Array(TENSOR_NUMBERS);

/** Writes an operand at `at` and returns the index after it. */
export function writeTensor(command: Float64Array, at: number, operand: Tensor | TensorList | null): number {
  for (let i = 0; i < TENSOR_NUMBERS; i++) command[at + i] = 0; // faster than `fill` for nine numbers
  if (operand instanceof TensorList) {
    command[at] = operand.handle;
    command[at + 1] = 1;
  } else if (operand !== null) {
    command[at] = operand.buffer.handle;
    command[at + 2] = operand.offset;
    command[at + 3] = dtypeCodes[operand.dtype];
    command[at + 4] = operand.shape.length;
    for (let i = 0; i < operand.shape.length && i < 4; i++) command[at + 5 + i] = operand.shape[i]!;
  }
  return at + TENSOR_NUMBERS;
}

const dtypeCodes = Object.fromEntries(dtypes.map((name, code) => [name, code])) as Record<Dtype, number>;
