import { tokensOf } from "../shared/engine/check-step.ts";
import type { Engine, StepInput, Stepped, StepResult } from "../shared/engine/engine.ts";
import type { Clock } from "../shared/runtime/clock.ts";
import { ServingError } from "../shared/runtime/errors.ts";
import { fitDrafts, type Offer, worthwhile } from "./fit-drafts.ts";
import type { Draft } from "./prompt-lookup.ts";
import { StepCost } from "./step-cost.ts";

/** How long a step waits for members that will be ready soon: otherwise they would be in every other step only. */
const SOON_MS = 5;

/** A sequence in the running batch. */
export interface Member {
  /** Settles when the member need not wait any more; null if it does not wait, or nothing tells for how long. */
  readonly soon: Promise<void> | null;
  /** What the next step feeds, or null while it has to wait. */
  next(): Offer | null;
  /** The step's outcome. Must not throw, must not wait. */
  deliver(result: Stepped): void;
  /** This member's part of a step failed, or the whole step did. */
  fail(error: unknown): void;
}

/**
 * All sequences of a worker, at most as many as a step takes, stepped together by one loop. A member that joins is in
 * the next step, one that leaves in none.
 */
export class RunningBatch {
  readonly #engine: Engine;
  readonly #clock: Clock;
  readonly #onStep: () => void;
  readonly #cost = new StepCost();
  #members: readonly Member[] = [];
  #looping = false;
  #wake: () => void = () => {};

  /** `onStep` is called after each step. */
  constructor(engine: Engine, clock: Clock, onStep: () => void) {
    this.#engine = engine;
    this.#clock = clock;
    this.#onStep = onStep;
  }

  join(member: Member): void {
    this.#members = [...this.#members, member];
    if (!this.#looping) void this.#loop();
    this.wake();
  }

  leave(member: Member): void {
    this.#members = this.#members.filter((other) => other !== member);
    this.wake();
  }

  /** How many ids of a member's draft would pay now if the others had none: more of it need not be prepared. */
  worth(draft: Draft): number {
    const others = Math.max(0, this.#members.length - 1);
    return worthwhile([draft, ...Array(others).fill(null)], this.#cost, this.#engine.info.batchMax)[0]!;
  }

  /** A member that waited can go on. */
  wake(): void {
    this.#wake();
  }

  async #loop(): Promise<void> {
    this.#looping = true;
    while (this.#members.length > 0) {
      const woken = new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      if (!(await this.#step())) await woken;
    }
    this.#looping = false;
  }

  /** False if no member was ready. */
  async #step(): Promise<boolean> {
    const soon = this.#members.flatMap((member) => member.soon ?? []);
    if (soon.length > 0) await Promise.race([Promise.all(soon), this.#clock.sleep(SOON_MS)]);
    const ready: Member[] = [];
    const offers: Offer[] = [];
    for (const member of this.#members) {
      const offer = member.next();
      if (offer === null) continue;
      ready.push(member);
      offers.push(offer);
    }
    if (ready.length === 0) return false;
    try {
      const results = await this.#run(fitDrafts(offers, this.#cost, this.#engine.info.batchMax));
      ready.forEach((member, i) => void hand(member, results[i]!));
    } catch (error) {
      for (const member of ready) member.fail(ready.length === 1 ? error : blameless(error));
    }
    this.#onStep();
    return true;
  }

  async #run(inputs: readonly StepInput[]): Promise<readonly StepResult[]> {
    const startMs = this.#clock.monotonicMs();
    const results = await this.#engine.step(inputs);
    this.#cost.learn(tokensOf(inputs), this.#clock.monotonicMs() - startMs);
    return results;
  }
}

const hand = (member: Member, result: StepResult): void => ("failed" in result ? member.fail(result.failed) : member.deliver(result));

/**
 * Nothing tells which job made a joint step fail, so the failure must not end one: each is tried again, and attempts
 * are counted.
 */
function blameless(cause: unknown): ServingError {
  const error = ServingError.from(cause);
  return error.retryable ? error : new ServingError("INTERNAL", `a step of several jobs failed: ${error.message}`, { cause });
}
