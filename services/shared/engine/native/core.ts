import { refusal, ServingError } from "../../runtime/errors.ts";
import { readBoundary, writeBoundary } from "../boundary.ts";
import { checkStep } from "../check-step.ts";
import { type Checkpoint, openCheckpoint } from "../checkpoint/open.ts";
import type {
  Allowed,
  ChunkResult,
  Drawn,
  EngineInfo,
  Opened,
  Sampling,
  SequenceId,
  SequenceStart,
  StepInput,
  StepResult,
} from "../engine.ts";
import { forward } from "../forward/forward.ts";
import type { Feed } from "../forward/prepare.ts";
import type { Means } from "../forward/run.ts";
import { createWorkspace } from "../forward/workspace.ts";
import { type Backend, type NativeBuffer, openBackend } from "../kernels.ts";
import { placeModel } from "../model.ts";
import { count, Drawer, uncount } from "../sampling/drawer.ts";
import { type Continuation, createSequence, freeSequence, type Sequence, sealedSince } from "../sequence.ts";
import { checkDraw, type Draw, type Step, stepOf } from "./draws.ts";
import { engineInfo, type NativeOptions } from "./options.ts";

/** More open sequences would be the caller's leak: workers bound their slots far lower. */
const SEQUENCES_MAX = 4096;

/** The Engine of engine.ts, but blocking: owns backend, weights and sequences. For one thread, that of `thread.ts`. */
export class EngineCore {
  readonly info: EngineInfo;
  readonly #backend: Backend;
  readonly #means: Means;
  readonly #drawer: Drawer;
  readonly #sequences = new Map<SequenceId, Sequence>();
  /** Sequences whose last call did not complete: their rings and pages disagree. */
  readonly #broken = new Set<SequenceId>();
  #lastId = 0;

  constructor(options: NativeOptions) {
    const checkpoint = openCheckpoint(options.modelPath);
    const { backend, means } = openMeans(checkpoint, options);
    this.#backend = backend;
    this.#means = means;
    this.#drawer = new Drawer(checkpoint.config.vocab);
    this.info = engineInfo(options, checkpoint, means.model.layout, backend.path);
  }

  /** Takes over the segments unless it throws: then the caller still releases them. */
  open(segments: readonly NativeBuffer[], boundary: SequenceStart["boundary"]): Opened {
    if (this.#sequences.size >= SEQUENCES_MAX) throw new ServingError("OVERLOADED", `${SEQUENCES_MAX} sequences are open: close some`);
    const { config, layout } = this.#means.model;
    const at = boundary === null ? replayFrom(this.info, segments.length) : resumeAt(this.info, segments.length, boundary.position);
    const sequence = createSequence(config, layout, segments, at);
    try {
      if (boundary !== null) readBoundary(sequence, boundary.bytes);
    } catch (error) {
      freeSequence(sequence);
      throw error;
    }
    const id = ++this.#lastId as SequenceId;
    this.#sequences.set(id, sequence);
    return { sequence: id, position: sequence.position, exactFrom: sequence.exactFrom };
  }

  /** `onLayer` may throw to stop between layers. It is first called with 0, before anything has changed. */
  prefill(
    id: SequenceId,
    ids: Int32Array,
    sample: Sampling | undefined,
    onLayer?: (layersDone: number) => void,
    allowed?: Allowed,
  ): ChunkResult<NativeBuffer> {
    const { chunkTokens } = this.info;
    if (ids.length === 0 || ids.length > chunkTokens) throw refusal(`a chunk has 1 to ${chunkTokens} tokens, not ${ids.length}`);
    const sequence = this.#sequence(id);
    const before = sequence.position;
    const draws = sample === undefined ? [] : [{ id, sequence, position: before + ids.length, row: ids.length - 1, sample, allowed }];
    const logits = this.#feed([id], [{ sequence, ids }], draws, onLayer);
    const drawn = draws[0] === undefined ? { token: null } : this.#draw(draws[0], logits);
    return { ...drawn, sealed: sealedSince(sequence, before) };
  }

  /** A failed draw fails its own sequence: results of the others stand. */
  step(batch: readonly StepInput[]): StepResult<NativeBuffer>[] {
    checkStep(this.info, batch);
    let rows = 0;
    const steps = batch.map((input) => {
      const step = stepOf(input, this.#sequence(input.sequence), rows);
      rows += step.ids.length;
      return step;
    });
    const logits = this.#feed(
      batch.map(({ sequence }) => sequence),
      steps,
      steps.flatMap(({ draws }) => draws),
    );
    return steps.map((step) => this.#stepResult(step, logits));
  }

  boundary(id: SequenceId): Uint8Array {
    const sequence = this.#sequence(id);
    if (sequence.position < sequence.exactFrom)
      throw refusal(`no boundary at ${sequence.position}: the replay is exact from ${sequence.exactFrom} on`);
    return writeBoundary(sequence);
  }

  close(id: SequenceId): void {
    const sequence = this.#sequences.get(id);
    if (sequence === undefined) return;
    this.#sequences.delete(id);
    this.#broken.delete(id);
    freeSequence(sequence);
  }

  shutdown(): void {
    for (const id of [...this.#sequences.keys()]) this.close(id);
    this.#means.work.release();
    this.#means.ops.release();
    this.#means.model.release();
    this.#backend.close();
  }

  #sequence(id: SequenceId): Sequence {
    const sequence = this.#sequences.get(id);
    if (sequence === undefined) throw refusal(`sequence ${id} is not open`);
    if (this.#broken.has(id)) throw refusal(`sequence ${id} lost its state when a call on it failed or was aborted: it can only be closed`);
    return sequence;
  }

  /**
   * Runs the feeds and returns the logits of the draws, one row after the other.
   * A call that stops midway leaves its sequences broken.
   */
  #feed(ids: readonly SequenceId[], feeds: readonly Feed[], draws: readonly Draw[], onLayer?: (layersDone: number) => void): Float32Array {
    for (const feed of feeds) checkFeed(this.info, feed);
    for (const draw of draws) checkDraw(draw);
    for (const id of ids) this.#broken.add(id);
    onLayer?.(0);
    const wanted = Int32Array.from(draws, ({ row }) => row);
    const logits = forward(this.#means, feeds, { wanted, onLayer });
    for (const id of ids) this.#broken.delete(id);
    return logits;
  }

  /** Draws from the first row of `logits`. Logits that are not finite mean that the sequence's state is lost. */
  #draw({ id, sequence, position, sample, allowed }: Draw, logits: Float32Array): Drawn {
    try {
      return this.#drawer.draw(logits.subarray(0, this.info.vocabSize), sample, position, sequence.counts, allowed);
    } catch (error) {
      this.#broken.add(id);
      throw error;
    }
  }

  /**
   * Draws as long as the draft agrees, then rolls back the rest. A draw that fails after the first is rolled back too:
   * the next step fails at it again and reports it.
   */
  #stepResult({ input, sequence, ids, draws, back }: Step, logits: Float32Array): StepResult<NativeBuffer> {
    const before = draws[0]!.position - 1;
    const drawn: Drawn[] = [];
    try {
      for (const [i, draw] of draws.entries()) {
        if (i > 0 && ids[i] !== drawn.at(-1)!.token) break;
        count(sequence.counts, i === 0 ? input : { token: ids[i]!, sample: input.sample });
        drawn.push(this.#draw(draw, logits.subarray(draw.row * this.info.vocabSize)));
      }
    } catch (error) {
      if (drawn.length === 0) return { failed: ServingError.from(error) };
      uncount(sequence.counts, { token: ids[drawn.length]!, sample: input.sample });
      this.#broken.delete(input.sequence);
    }
    if (drawn.length < ids.length) back?.(before + drawn.length);
    return { drawn, sealed: sealedSince(sequence, before) };
  }
}

/** Releases what it has opened if a later part fails. */
function openMeans(checkpoint: Checkpoint, options: NativeOptions): { readonly backend: Backend; readonly means: Means } {
  const { batchMax, chunkTokens } = options;
  const undo: (() => void)[] = [];
  try {
    const backend = openBackend({ path: options.kernelPath, threads: options.threads });
    undo.push(() => backend.close());
    const model = placeModel(checkpoint, options);
    undo.push(() => model.release());
    const ops = backend.createStream();
    undo.push(() => ops.release());
    const size = { rowsMax: Math.max(chunkTokens, batchMax), logitRows: batchMax };
    const work = createWorkspace(model.config, model.layout, model.activation, size);
    return { backend, means: { model, ops, work, tap: null } };
  } catch (error) {
    for (const release of undo.reverse()) release();
    throw error;
  }
}

/** Segments alone: starts as far back as exactness needs, and reads their rows instead of computing them. */
function replayFrom({ segmentTokens, replayTokens }: EngineInfo, segments: number): Continuation {
  const end = segments * segmentTokens;
  const position = Math.max(0, end - replayTokens);
  return { position, first: position, exactFrom: position === 0 ? 0 : end };
}

function resumeAt({ segmentTokens, contextTokens }: EngineInfo, segments: number, position: number): Continuation {
  const end = segments * segmentTokens;
  if (!Number.isInteger(position) || position < 0 || position > contextTokens || position >= end + segmentTokens)
    throw refusal(`a boundary at ${position} does not continue ${segments} segments of ${segmentTokens} tokens`);
  return { position, first: 0, exactFrom: position };
}

function checkFeed({ vocabSize, contextTokens }: EngineInfo, { sequence, ids }: Feed): void {
  if (sequence.position + ids.length > contextTokens)
    throw new ServingError("CONTEXT_LENGTH", `${sequence.position + ids.length} tokens, but the context is ${contextTokens} tokens long`);
  const bad = ids.find((id) => id < 0 || id >= vocabSize);
  if (bad !== undefined) throw refusal(`token ${bad} is not in the vocabulary of ${vocabSize}`);
}
