import type { Allowed, Sampling, SequenceId, Stepped } from "../shared/engine/engine.ts";
import type { Following } from "../shared/engine/grammar/following.ts";
import { penalises } from "../shared/engine/sampling/drawer.ts";
import type { Context } from "../shared/worker/context.ts";
import type { HeldJob } from "../shared/worker/held-job.ts";
import { crowded } from "../shared/worker/kv-room.ts";
import type { Answer, End } from "./answer.ts";
import type { Offer } from "./fit-drafts.ts";
import { type Draft, PromptLookup } from "./prompt-lookup.ts";
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
  /** Longest draft; 0: none. */
  readonly draftMax: number;
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
  readonly #lookup: PromptLookup | null;
  #stepping = false;
  /** Whether the sequence counts the answer: it was told what there was, and each step adds its token. */
  #counted = false;
  #soon: Promise<void> | null = null;
  /** What the next token may be, and those behind the draft; null: all. */
  #allowed: readonly (Allowed | null)[] | null = null;
  #draft: Draft | null = null;

  constructor(parts: GenerationParts, outcome: Outcome) {
    this.#parts = parts;
    this.#outcome = outcome;
    this.#sample = parts.job.request.sampling;
    this.#lookup = drafts(parts) ? new PromptLookup(parts.context.ids.length + parts.answer.left) : null;
    this.#prepare();
  }

  get soon(): Promise<void> | null {
    return this.#soon;
  }

  next(): Offer | null {
    const { sequence, answer, writer } = this.#parts;
    if (writer.full || this.#soon !== null) return null;
    this.#stepping = true;
    const before = penalises(this.#sample) && !this.#counted ? { answer: Int32Array.from(answer.ids) } : {};
    this.#counted = true;
    const among = this.#allowed === null ? {} : { allowed: this.#allowed };
    const token = answer.ids.at(-1)!;
    return { input: { sequence, token, sample: this.#sample, ...before, ...among }, draft: this.#draft };
  }

  deliver({ drawn, sealed }: Stepped): void {
    const { context, answer, writer } = this.#parts;
    this.#stepping = false;
    let end: End | null = null;
    for (const { token, logprobs } of drawn) {
      context.push(answer.ids.at(-1)!);
      end = answer.take(token);
      if (!answer.isStop(token)) writer.add(token, logprobs);
    }
    for (const segment of sealed) context.keep(segment);
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

  /** What the next step may run ahead, and what may be drawn in it. */
  #prepare(): void {
    this.#draft = this.#drafted();
    const { job, following, answer } = this.#parts;
    if (following === null) return;
    const told = job.keptWhile(following.ahead(answer.ids, [...(this.#draft?.ids ?? [])])).then(
      (allowed) => {
        this.#allowed = allowed;
        this.#draft = this.#draft && cut(this.#draft, allowed.length - 1);
        this.#soon = null;
        this.#outcome.ready();
      },
      (error) => this.#outcome.fail(error),
    );
    this.#soon = told;
  }

  /** Ends with the answer, with the segment, for which there is room, and before any id that ends the answer. */
  #drafted(): Draft | null {
    if (this.#lookup === null) return null;
    const { context, answer, draftMax } = this.#parts;
    const { ids, segmentTokens } = context;
    const inSegment = segmentTokens - 1 - (ids.length % segmentTokens);
    const draft = this.#lookup.draft(ids, answer.ids.at(-1)!, Math.min(draftMax, answer.left - 1, inSegment));
    const stop = draft.ids.findIndex((id) => answer.isStop(id));
    return stop < 0 ? draft : cut(draft, stop);
  }

  #goOn(): void {
    const { job, context } = this.#parts;
    if (!context.grow()) job.handBack(crowded());
    try {
      job.check();
      this.#prepare();
    } catch (thrown) {
      this.#outcome.fail(thrown);
    }
  }
}

/** What is run ahead must not lie behind the answer's end. */
const drafts = ({ draftMax, answer }: GenerationParts): boolean => draftMax > 0 && answer.endsById;

const cut = (draft: Draft, length: number): Draft => ({ ...draft, ids: draft.ids.subarray(0, length) });
