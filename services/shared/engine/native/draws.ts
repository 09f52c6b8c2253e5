import { refusal } from "../../runtime/errors.ts";
import type { Allowed, Sampling, SequenceId, StepInput } from "../engine.ts";
import type { Feed } from "../forward/prepare.ts";
import { keepRings } from "../rings.ts";
import type { Sequence } from "../sequence.ts";

/** A token that a call draws. */
export interface Draw {
  readonly id: SequenceId;
  readonly sequence: Sequence;
  /** Position of the token that is drawn. */
  readonly position: number;
  /** Row of the token before it, among the rows of all feeds. */
  readonly row: number;
  readonly sample: Sampling;
  readonly allowed?: Allowed | undefined;
}

/** A sequence's part of a step: its token and draft, and a draw after each of them. */
export interface Step extends Feed {
  readonly input: StepInput;
  readonly draws: readonly Draw[];
  /** Rolls back what ran after a position. */
  readonly back: ReturnType<typeof keepRings> | null;
}

/** `row`: the sequence's first row in the step. */
export function stepOf(input: StepInput, sequence: Sequence, row: number): Step {
  const { sequence: id, token, draft = NO_DRAFT, sample, allowed } = input;
  const ids = Int32Array.of(token, ...draft);
  const draws = Array.from(ids, (_, i): Draw => {
    const among = allowed?.[i] ?? undefined;
    return { id, sequence, position: sequence.position + i + 1, row: row + i, sample, allowed: among };
  });
  return { input, sequence, ids, draws, back: draft.length > 0 ? keepRings(sequence, draft.length) : null };
}

const NO_DRAFT = new Int32Array();

/** Logits are exact only after the end of a replay. */
export function checkDraw({ sequence: { exactFrom }, position }: Draw): void {
  if (position <= exactFrom) throw refusal(`no token can be drawn at ${position}: the replay ends at ${exactFrom}`);
}
