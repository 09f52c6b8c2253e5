import { isUnavailable, ServingError } from "../runtime/errors.ts";

interface Absence {
  /** Where it should answer. */
  readonly at: string;
  /** What stands in the way, and what to do about it. */
  readonly why: string;
  readonly advice: string;
  /** Whether the operator has to act: waiting alone does not mend it. */
  readonly lasts: boolean;
  readonly cause: unknown;
}

/** The record does not answer. `message` may reach clients, so only `told` names the address. */
export class RecordAway extends ServingError {
  readonly lasts: boolean;
  readonly #told: string;

  constructor({ at, why, advice, lasts, cause }: Absence) {
    super("UNAVAILABLE", `NATS does not answer (${why}); ${advice}`, { cause });
    this.#told = `NATS at ${at} does not answer (${why}); ${advice}`;
    this.lasts = lasts;
  }

  override get told(): string {
    return this.#told;
  }
}

/** Whether what went wrong may pass by itself. */
export const mayPass = (thrown: unknown): boolean => isUnavailable(thrown) && !(thrown instanceof RecordAway && thrown.lasts);

/** What went wrong, in words for the operator. */
export const toldOf = (thrown: unknown): string => {
  if (thrown instanceof ServingError) return thrown.told;
  return thrown instanceof Error ? thrown.message : String(thrown);
};
