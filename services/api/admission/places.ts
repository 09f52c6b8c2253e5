import { expectedOutput } from "../../shared/bus/enqueue.ts";
import type { Lane } from "../../shared/bus/events.ts";
import type { Spending } from "../keys/limits.ts";
import type { Admission, Demand } from "./admission.ts";

/** What a job has from when it is let in until it is in the queue. */
export interface Place {
  /** That it is to wait in. */
  readonly lane: Lane;
  /** Call it once the job is in the queue, or will not come. */
  readonly queued: () => void;
  /** Gives back, once, what it took of the limits of whoever asks. */
  readonly giveBack: () => void;
}

/** Takes all of it from the limits of whoever asks, or throws RATE_LIMITED; each result gives back its own. */
export type Pay = (spendings: readonly Spending[]) => readonly (() => void)[];

/**
 * The places of a request's answers. The first of them that is not there already is let in with all that come behind it, or none is: no answer is
 * in the record when another is refused, and whoever waits as long as he is told has room for all.
 */
export class Places {
  readonly #admission: Pick<Admission, "admit">;
  readonly #pay: Pay;
  readonly #answers: number;
  readonly #begin: () => () => void;
  #free: Place[] | null = null;

  /** `begin`: called when they are let in; its result once each is in the queue, or will not come. */
  constructor(admission: Pick<Admission, "admit">, pay: Pay, answers: number, begin: () => () => void = () => () => {}) {
    this.#admission = admission;
    this.#pay = pay;
    this.#answers = answers;
    this.#begin = begin;
  }

  /** For the answer of this index; each asks at most once, in order. Throws OVERLOADED and RATE_LIMITED. */
  async next(index: number, job: Demand): Promise<Place> {
    this.#free ??= await this.#enter(index, job);
    return this.#free.shift()!;
  }

  /** Those that nobody took: their answers were there already, or will not be asked for. */
  leave(): void {
    for (const { queued, giveBack } of this.#free?.splice(0) ?? []) {
      giveBack();
      queued();
    }
  }

  async #enter(index: number, job: Demand): Promise<Place[]> {
    const tokens = job.promptTokens + expectedOutput(job);
    const spendings = Array.from({ length: this.#answers - index }, (_, i) => ({ requests: index + i === 0 ? 1 : 0, tokens }));
    let paid: readonly (() => void)[] = [];
    const admitted = await this.#admission.admit(job, spendings.length, () => {
      paid = this.#pay(spendings);
    });
    const end = this.#begin();
    let open = admitted.length;
    return admitted.map(({ queued, lane }, i) => ({
      lane,
      queued: () => {
        queued();
        if (--open === 0) end();
      },
      giveBack: paid[i]!,
    }));
  }
}
