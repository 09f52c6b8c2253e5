import type { Allowed, Sampling, SequenceId, StepInput, Stepped } from "../shared/engine/engine.ts";
import type { Following } from "../shared/engine/grammar/following.ts";
import { penalises } from "../shared/engine/sampling/drawer.ts";
import type { Context } from "../shared/worker/context.ts";
import type { HeldJob } from "../shared/worker/held-job.ts";
import { crowded } from "../shared/worker/kv-room.ts";
import type { Answer, End } from "./answer.ts";
import type { Member, RunningBatch } from "./running-batch.ts";
import type { TokenWriter } from "./token-writer.ts";

export interface GenerationParts {
  readonly job: HeldJob;
  readonly sequence: SequenceId;
  /** The ids that the sequence has run. */
  readonly context: Context;
  /** The answer so far; its last id has not run. */
  readonly answer: Answer;
  readonly writer: TokenWriter;
  /** What the answer is held to, if anything. */
  readonly following: Following | null;
}

/** Generates in the running batch until the answer ends or the job is interrupted. Between steps nothing waits for anything but the log. */
export async function generate(parts: GenerationParts, batch: RunningBatch): Promise<End> {
  const { job } = parts;
  job.check();
  return await new Promise<End>((resolve, reject) => {
    const member = new Generating(parts, {
      ready: () => batch.wake(),
      end: (end) => leave(() => resolve(end)),
      fail: (error) => leave(() => reject(error)),
    });
    const onAbort = () => member.interrupt();
    const leave = (settle: () => void) => {
      job.signal.removeEventListener("abort", onAbort);
      batch.leave(member);
      parts.following?.close();
      settle();
    };
    job.signal.addEventListener("abort", onAbort, { once: true });
    batch.join(member);
  });
}

interface Outcome {
  /** It waited and can go on. */
  ready(): void;
  end(end: End): void;
  fail(error: unknown): void;
}

class Generating implements Member {
  readonly #parts: GenerationParts;
  readonly #outcome: Outcome;
  readonly #sample: Sampling;
  #stepping = false;
  /** Whether the sequence counts the answer: it was told what there was, and each step adds its token. */
  #counted = false;
  #soon: Promise<void> | null = null;
  #allowed: Allowed | null = null;

  constructor(parts: GenerationParts, outcome: Outcome) {
    this.#parts = parts;
    this.#outcome = outcome;
    this.#sample = parts.job.request.sampling;
    this.#ask();
  }

  get soon(): Promise<void> | null {
    return this.#soon;
  }

  next(): StepInput | null {
    const { sequence, answer, writer } = this.#parts;
    if (writer.full || this.#soon !== null) return null;
    this.#stepping = true;
    const before = penalises(this.#sample) && !this.#counted ? { answer: Int32Array.from(answer.ids) } : {};
    this.#counted = true;
    const among = this.#allowed === null ? {} : { allowed: this.#allowed };
    return { sequence, token: answer.ids.at(-1)!, sample: this.#sample, ...before, ...among };
  }

  deliver({ token, logprobs, sealed }: Stepped): void {
    const { context, answer, writer } = this.#parts;
    this.#stepping = false;
    context.push(answer.ids.at(-1)!);
    for (const segment of sealed) context.keep(segment);
    const end = answer.take(token);
    if (!answer.isStop(token)) writer.add(token, logprobs);
    if (end !== null) this.#outcome.end(end);
    else this.#goOn();
  }

  fail(error: unknown): void {
    this.#outcome.fail(error);
  }

  /** A step under way is awaited: `deliver` then looks, and sequence and context agree. */
  interrupt(): void {
    if (!this.#stepping) this.#outcome.fail(this.#parts.job.signal.reason);
  }

  /** What the next token may be. */
  #ask(): void {
    const { job, following, answer } = this.#parts;
    if (following === null) return;
    const told = job.keptWhile(following.allowed(answer.ids)).then(
      (allowed) => {
        this.#allowed = allowed;
        this.#soon = null;
        this.#outcome.ready();
      },
      (error) => this.#outcome.fail(error),
    );
    this.#soon = told;
  }

  #goOn(): void {
    const { job, context } = this.#parts;
    if (!context.grow()) job.handBack(crowded());
    try {
      job.check();
      this.#ask();
    } catch (thrown) {
      this.#outcome.fail(thrown);
    }
  }
}
