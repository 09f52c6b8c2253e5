import type { ConfigFields } from "./config-styles.ts";

/**
 * Reads typed fields and notes what is wrong with them.
 * An unreadable field is returned as NaN or null, so that reading can go on.
 */
export interface ConfigReader {
  whole(key: string, range?: { readonly min?: number; readonly max?: number }): number;
  /** Finite and above 0. */
  positive(key: string): number;
  wholes(key: string): readonly number[] | null;
  /** A token id, or a list of exactly one. */
  token(key: string): number;
  /** The file may omit the key, but must not give it another value. */
  fixed(key: string, only: unknown): void;
}

/** Large enough for every released size, small enough that nothing is allocated for a typing error. */
const WHOLE_MAX = 2 ** 24;

export function configReader({ value, name }: ConfigFields, problems: string[]): ConfigReader {
  const wrong = (key: string, rule: string): number => {
    const found = value(key);
    problems.push(`${name(key)}: ${found === undefined || found === null ? "missing" : `${JSON.stringify(found)}`}, must be ${rule}`);
    return Number.NaN;
  };
  return {
    whole(key, { min = 1, max = WHOLE_MAX } = {}) {
      const found = value(key);
      return isWhole(found) && found >= min && found <= max ? found : wrong(key, `a whole number from ${min} to ${max}`);
    },
    positive(key) {
      const found = value(key);
      return typeof found === "number" && Number.isFinite(found) && found > 0 ? found : wrong(key, "a number above 0");
    },
    wholes(key) {
      const found = value(key);
      if (Array.isArray(found) && found.every((item) => isWhole(item) && item >= 0)) return found as number[];
      wrong(key, "a list of whole numbers");
      return null;
    },
    token(key) {
      const found = value(key);
      const id: unknown = Array.isArray(found) && found.length === 1 ? found[0] : found;
      return isWhole(id) && id >= 0 && id <= WHOLE_MAX ? id : wrong(key, "one token id");
    },
    fixed(key, only) {
      const found = value(key);
      if (found !== undefined && JSON.stringify(found) !== JSON.stringify(only))
        wrong(key, `${JSON.stringify(only)}, the only form longshore serves`);
    },
  };
}

const isWhole = (value: unknown): value is number => Number.isSafeInteger(value);
