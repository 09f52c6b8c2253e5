import { setImmediate as nextTurn } from "node:timers/promises";
import { type Clock, systemClock } from "../../runtime/clock.ts";
import { refusal } from "../../runtime/errors.ts";
import type { Memory } from "../../runtime/memory.ts";
import { checkStep } from "../check-step.ts";
import type {
  Allowed,
  ChunkOptions,
  ChunkResult,
  Drawn,
  Engine,
  EngineInfo,
  Opened,
  Sampling,
  Sealed,
  SequenceId,
  SequenceStart,
  StepInput,
  Stepped,
  StepResult,
} from "../engine.ts";
import { count, Drawer, penalises } from "../sampling/drawer.ts";
import { type Counted, countedMemory } from "./memory.ts";
import { infoOf, type WeightlessOptions } from "./options.ts";
import { boundaryOf, drawFrom, extend, fresh, logitsOf, restore, type Timeline, type Vocabulary } from "./timeline.ts";

export interface WeightlessEngine extends Engine {
  /** What is held now: both are 0 in a worker without work. */
  readonly held: { readonly sequences: number; readonly memories: number };
}

/**
 * An engine without weights, for tests of the cluster: the next token is a hash of every row stored so far, of the
 * tokens in the window, and of seed and position. A segment lost, swapped or stale, a boundary of another position, a
 * token left out of a replay: each changes the answer. So "same ids as the engine alone" means that everything arrived.
 */
export const openWeightlessEngine = (options: WeightlessOptions = {}): WeightlessEngine => new Weightless(options);

class Weightless implements WeightlessEngine {
  readonly info: EngineInfo;
  readonly #clock: Clock;
  readonly #chunkMs: number;
  readonly #stepMs: number;
  readonly #vocabulary: Vocabulary;
  readonly #drawer: Drawer;
  readonly #memories = countedMemory();
  readonly #sequences = new Map<SequenceId, Timeline>();
  readonly #broken = new Set<SequenceId>();
  readonly #inOrder: ReturnType<typeof oneAtATime>;
  #lastId = 0;

  constructor(options: WeightlessOptions) {
    const { clock = systemClock, chunkMs = 0, stepMs = 0, eosId = 1, eosOneIn = 0, turn = nextTurn } = options;
    this.info = infoOf(options);
    this.#clock = clock;
    this.#chunkMs = chunkMs;
    this.#stepMs = stepMs;
    this.#vocabulary = { vocabSize: this.info.vocabSize, eosId, eosOneIn };
    this.#drawer = new Drawer(this.info.vocabSize);
    this.#inOrder = oneAtATime(turn);
  }

  get held() {
    return { sequences: this.#sequences.size, memories: this.#memories.held };
  }

  allocate(bytes: number): Memory {
    return this.#memories.hold(new Uint8Array(bytes));
  }

  open(start: SequenceStart): Promise<Opened> {
    return this.#inOrder(async () => {
      const sequence = ++this.#lastId as SequenceId;
      const timeline = restored(start, this.info, this.#memories);
      this.#sequences.set(sequence, timeline);
      const { position, exactFrom } = timeline;
      return { sequence, position, exactFrom };
    });
  }

  prefill(sequence: SequenceId, ids: Int32Array, options: ChunkOptions = {}): Promise<ChunkResult> {
    return this.#inOrder(async () => {
      const { sample, allowed } = options;
      const { chunkTokens } = this.info;
      const timeline = this.#timelineOf(sequence);
      if (ids.length === 0 || ids.length > chunkTokens) throw refusal(`a chunk has 1 to ${chunkTokens} tokens, not ${ids.length}`);
      try {
        await this.#passLayers(options);
      } catch (error) {
        this.#broken.add(sequence);
        throw error;
      }
      const sealed = this.#run(timeline, ids);
      return { sealed, ...(sample === undefined ? { token: null } : this.#draw(timeline, sample, allowed)) };
    });
  }

  step(batch: readonly StepInput[]): Promise<StepResult[]> {
    return this.#inOrder(async () => {
      checkStep(this.info, batch);
      const timelines = batch.map(({ sequence }) => this.#timelineOf(sequence));
      if (this.#stepMs > 0) await this.#clock.sleep(this.#stepMs);
      return batch.map((input, i) => this.#stepped(timelines[i]!, input));
    });
  }

  boundary(sequence: SequenceId): Promise<Uint8Array> {
    return this.#inOrder(async () => boundaryOf(this.#timelineOf(sequence)));
  }

  close(sequence: SequenceId): Promise<void> {
    return this.#inOrder(async () => {
      this.#broken.delete(sequence);
      const timeline = this.#sequences.get(sequence);
      this.#sequences.delete(sequence);
      for (const page of timeline?.pages ?? []) page.release();
    });
  }

  shutdown(): Promise<void> {
    return this.#inOrder(async () => {
      for (const timeline of this.#sequences.values()) for (const page of timeline.pages) page.release();
      this.#sequences.clear();
    });
  }

  /** Runs a draft one id after the other, as far as it is drawn: nothing has to be rolled back. */
  #stepped(timeline: Timeline, input: StepInput): Stepped {
    const { sample, draft = new Int32Array(), allowed = [] } = input;
    const sealed = this.#run(timeline, [input.token]);
    count(timeline.counts, input);
    const drawn = [this.#draw(timeline, sample, allowed[0] ?? undefined)];
    for (const [i, id] of draft.entries()) {
      if (drawn.at(-1)!.token !== id) break;
      sealed.push(...this.#run(timeline, [id]));
      count(timeline.counts, { token: id, sample });
      drawn.push(this.#draw(timeline, sample, allowed[i + 1] ?? undefined));
    }
    return { drawn, sealed };
  }

  #timelineOf(sequence: SequenceId): Timeline {
    const timeline = this.#sequences.get(sequence);
    if (timeline === undefined || this.#broken.has(sequence)) throw refusal(`sequence ${sequence} is not open`);
    return timeline;
  }

  /** The time that a chunk pretends to take. */
  async #passLayers({ onProgress, signal }: ChunkOptions): Promise<void> {
    const { layers } = this.info;
    for (let layer = 0; layer < layers; layer++) {
      signal?.throwIfAborted();
      if (this.#chunkMs > 0) await this.#clock.sleep(this.#chunkMs / layers);
      onProgress?.(layer + 1, layers);
    }
    signal?.throwIfAborted();
  }

  #run(timeline: Timeline, ids: ArrayLike<number>): Sealed[] {
    const { contextTokens, vocabSize } = this.info;
    if (timeline.position + ids.length > contextTokens) throw refusal(`the context is ${contextTokens} tokens long`);
    return extend(timeline, ids, vocabSize).map(({ index, rows }) => ({ index, payload: this.#memories.hold(rows) }));
  }

  #draw(timeline: Timeline, sampling: Sampling, allowed?: Allowed): Drawn {
    return allowed !== undefined || needsLogits(sampling)
      ? this.#drawer.draw(logitsOf(timeline, this.#vocabulary), sampling, timeline.position, timeline.counts, allowed)
      : { token: drawFrom(timeline, sampling, this.#vocabulary) };
  }
}

/** Most tests are of the cluster: a hash is enough for them, and costs nothing. */
const needsLogits = (sampling: Sampling): boolean =>
  sampling.bias !== undefined || sampling.topLogprobs !== undefined || penalises(sampling);

function restored(start: SequenceStart, info: EngineInfo, memories: Counted): Timeline {
  const wrong = start.segments.findIndex(({ bytes }) => bytes.length !== info.segmentBytes);
  if (wrong >= 0) throw refusal(`segment ${wrong} has ${start.segments[wrong]!.bytes.length} bytes, not ${info.segmentBytes}`);
  const timeline = fresh(info.segmentTokens, info.replayTokens);
  restore(timeline, start);
  for (const { bytes } of start.segments) timeline.pages.push(memories.hold(bytes));
  return timeline;
}

/**
 * Runs one call after the other. Calls made in one turn of the event loop share the wait for the next.
 * A failed call does not stop those after it.
 */
function oneAtATime(turn: () => Promise<void>): <T>(call: () => Promise<T>) => Promise<T> {
  let tail: Promise<unknown> = Promise.resolve();
  let next: Promise<void> | null = null;
  return (call) => {
    next ??= turn().finally(() => {
      next = null;
    });
    const result = Promise.all([next, tail]).then(call);
    tail = result.catch(() => {});
    return result;
  };
}
