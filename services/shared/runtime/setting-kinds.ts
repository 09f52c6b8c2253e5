/** One setting: how its text becomes a value, and what the configuration reference says about it. */
export interface Setting<T> {
  readonly parse: (text: string) => T;
  /** As an operator would write it. */
  readonly fallback: string;
  readonly doc: string;
  /** Shown in the reference: `whole number, 1 to 1024`. */
  readonly kind: string;
  /** A value that is refused is not repeated: it may hold a password. */
  readonly secret?: true;
}

const setting = <T>(kind: string, fallback: string, doc: string, parse: (text: string) => T): Setting<T> => ({
  kind,
  fallback,
  doc,
  parse,
});

export const text = (fallback: string, doc: string) => setting("text", fallback, doc, (value) => value);

export const oneOf = <const T extends string>(choices: readonly T[], fallback: T, doc: string) =>
  setting(choices.join(" or "), fallback, doc, (value) => {
    const found = choices.find((choice) => choice === value);
    if (found === undefined) throw new Error(`must be ${choices.join(" or ")}`);
    return found;
  });

export const yesNo = (fallback: "yes" | "no", doc: string) =>
  setting("yes or no", fallback, doc, (value) => {
    if (/^(yes|true|1)$/i.test(value)) return true;
    if (/^(no|false|0)$/i.test(value)) return false;
    throw new Error("must be yes or no");
  });

export const whole = (fallback: number, range: { min: number; max?: number }, doc: string) =>
  setting(`whole number, ${range.min} ${range.max === undefined ? "or more" : `to ${range.max}`}`, String(fallback), doc, (value) =>
    wholeNumber(value, range),
  );

/** Node lets a timer beyond this run out at once. */
const TIMER_MS_MAX = 2_147_483_647;

/** A duration that a timer waits for. `times`: the largest multiple of it that one timer waits for. */
export const milliseconds = (fallback: number, { min, times = 1 }: { min: number; times?: number }, doc: string) =>
  whole(fallback, { min, max: Math.floor(TIMER_MS_MAX / times) }, doc);

/** The record counts nanoseconds in 63 bits: this many seconds, 292 years. */
const SECONDS_MAX = 9_223_372_036;

/** A duration that no timer waits for: how long something is kept or may take. */
export const seconds = (fallback: number, { min }: { min: number }, doc: string) => whole(fallback, { min, max: SECONDS_MAX }, doc);

/** Empty: none, as null. */
export const optionalPort = (doc: string) =>
  setting("whole number, 0 to 65535, or nothing", "", doc, (value) => (value === "" ? null : wholeNumber(value, { min: 0, max: 65_535 })));

export const multipleOf = (step: number, fallback: number, doc: string) =>
  setting(`multiple of ${step}`, String(fallback), doc, (value) => {
    const number = wholeNumber(value, { min: step });
    if (number % step !== 0) throw new Error(`must be a multiple of ${step}`);
    return number;
  });

export const url = (protocols: readonly string[], fallback: string, doc: string): Setting<string> => ({
  ...setting(`URL: ${protocols.join(", ")}`, fallback, doc, (value) => {
    const [protocol] = value.split(":", 1);
    if (!protocols.includes(`${protocol}:`)) throw new Error(`must begin with ${protocols.join(" or ")}`);
    return value;
  }),
  secret: true,
});

function wholeNumber(value: string, range: { min: number; max?: number }): number {
  const number = /^-?\d+$/.test(value) ? Number(value) : Number.NaN;
  if (!Number.isSafeInteger(number)) throw new Error("must be a whole number");
  if (number < range.min) throw new Error(`must be at least ${range.min}`);
  if (range.max !== undefined && number > range.max) throw new Error(`must be at most ${range.max}`);
  return number;
}
