import { type Delta, textOf } from "../../shared/engine/chat/delta.ts";
import { ServingError } from "../../shared/runtime/errors.ts";
import { type Ending, join, type Likely, type Score } from "./answer.ts";
import type { Step } from "./follow.ts";
import type { WholeAnswer } from "./surface.ts";

/** What is kept of an answer that is shown in one piece, until it ends: many are waited for at once. */
export class GrowingAnswer {
  readonly #deltas: Delta[] = [];
  readonly #scores = new PackedScores();
  #end: Ending | null = null;
  #characters = 0;

  /** About, and less than what showing it takes. */
  get bytes(): number {
    return this.#characters + this.#scores.bytes;
  }

  add({ deltas, scores, end }: Pick<Step, "deltas" | "scores" | "end">): void {
    for (const delta of deltas) {
      this.#characters += textOf(delta).length;
      join(this.#deltas, delta);
    }
    for (const score of scores) this.#scores.add(score);
    this.#end = end;
  }

  whole(jobId: string, index: number): WholeAnswer {
    if (this.#end === null) throw new ServingError("INTERNAL", `the log of ${jobId} stops before its last event`);
    return { jobId, index, end: this.#end, deltas: this.#deltas, scores: this.#scores.unpacked() };
  }
}

/** Scores as columns: 16 bytes for a token and for each alternative, whose spellings are the tokenizer's own. */
class PackedScores {
  /** Of each token, then of its alternatives. */
  readonly #spellings: Uint8Array[] = [];
  readonly #logprobs: number[] = [];
  /** Of each token. */
  readonly #alternatives: number[] = [];
  readonly #reasoning: boolean[] = [];

  get bytes(): number {
    return 16 * this.#logprobs.length;
  }

  add(score: Score): void {
    for (const { bytes, logprob } of [score, ...score.top]) {
      this.#spellings.push(bytes);
      this.#logprobs.push(logprob);
    }
    this.#alternatives.push(score.top.length);
    this.#reasoning.push(score.reasoning);
  }

  unpacked(): Score[] {
    let place = 0;
    const next = (): Likely => ({ bytes: this.#spellings[place]!, logprob: this.#logprobs[place++]! });
    return this.#alternatives.map((alternatives, i) => ({
      ...next(),
      reasoning: this.#reasoning[i]!,
      top: Array.from({ length: alternatives }, next),
    }));
  }
}
