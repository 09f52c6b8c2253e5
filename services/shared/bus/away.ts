import { isUnavailable, ServingError } from "../runtime/errors.ts";

interface Absence {
  /** Where it should be. */
  readonly at: string;
  /** What stands in the way, and what to do about it. */
  readonly why: string;
  readonly advice: string;
  /** Whether somebody has to do something first: to wait alone mends nothing. */
  readonly lasts: boolean;
  readonly cause: unknown;
}

/** The record does not answer. `message` may reach clients, whom its address does not concern. */
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

/** What went wrong, in words for whoever runs the cluster. */
export const toldOf = (thrown: unknown): string => {
  if (thrown instanceof ServingError) return thrown.told;
  return thrown instanceof Error ? thrown.message : String(thrown);
};
