/**
 * A decoded protobuf message whose types are not checked yet. Each reader below throws if a field is not what it must
 * be.
 */
export type Fields = Readonly<Record<string, unknown>>;

interface Long {
  readonly low: number;
  readonly high: number;
}

const isLong = (value: unknown): value is Long => typeof value === "object" && value !== null && "low" in value && "high" in value;

export const text = (value: unknown): string => (typeof value === "string" ? value : wrong("text", value));

export const boolean = (value: unknown): boolean => (typeof value === "boolean" ? value : wrong("yes or no", value));

export const floating = (value: unknown): number => (typeof value === "number" ? value : wrong("a number", value));

/** A 64-bit count, exact up to 2^53. */
export function whole(value: unknown): number {
  const number = isLong(value) ? (value.high >>> 0) * 2 ** 32 + (value.low >>> 0) : value;
  return Number.isSafeInteger(number) ? (number as number) : wrong("a whole number below 2^53", value);
}

export function unsigned64(value: unknown): bigint {
  return isLong(value) ? (BigInt(value.high >>> 0) << 32n) | BigInt(value.low >>> 0) : wrong("64 bits", value);
}

export const list = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : wrong("a list", value));

/** Repeated int32. The decoder yields nothing but numbers. */
export const ints = (value: unknown): readonly number[] => list(value) as readonly number[];

export const message = (value: unknown): Fields =>
  typeof value === "object" && value !== null ? (value as Fields) : wrong("a message", value);

export const choice = <T>(choices: readonly T[], value: unknown): T =>
  (typeof value === "number" ? choices[value] : undefined) ?? wrong(`one of ${choices.join(", ")}`, value);

function wrong(expected: string, value: unknown): never {
  throw new Error(`expected ${expected}, found ${String(value)}`);
}
