import { setImmediate as nextTurn } from "node:timers/promises";
import { type Clock, systemClock } from "../runtime/clock.ts";
import { ServingError } from "../runtime/errors.ts";
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
} from "./engine.ts";
import { count, Drawer, penalises } from "./sampling-drawer.ts";
import { type Counted, countedMemory } from "./weightless-memory.ts";
import { boundaryOf, drawFrom, extend, fresh, logitsOf, restore, type Timeline } from "./weightless-timeline.ts";

export interface WeightlessOptions {
  readonly model?: string;
  readonly vocabSize?: number;
  /** Drawn with probability 1 / `eosOneIn`, so that answers end. */
  readonly eosId?: number;
  /** 0: never. */
  readonly eosOneIn?: number;
  readonly contextTokens?: number;
  readonly segmentTokens?: number;
  readonly chunkTokens?: number;
  readonly replayTokens?: number;
  readonly batchMax?: number;
  readonly layers?: number;
  /** How long a chunk or a step pretends to take. */
  readonly chunkMs?: number;
  readonly stepMs?: number;
  readonly clock?: Clock;
  /** What every call waits for first: a turn of the event loop, as with a native engine. The simulator gives turns of its own. */
  readonly turn?: () => Promise<void>;
}

export interface WeightlessEngine extends Engine {
  /** What is held now: both are 0 in a worker without work. */
  readonly held: { readonly sequences: number; readonly memories: number };
}

/**
 * An engine without weights, for tests of the cluster: the next token is a hash of every row stored so far, of the tokens in the window
 * and of seed and position. A segment lost, swapped or stale, a boundary of somewhere else, a token left out of a replay: each changes
 * the answer. So "same ids as the engine alone" means that everything arrived.
 */
export function openWeightlessEngine(options: WeightlessOptions = {}): WeightlessEngine {
  const { clock = systemClock, chunkMs = 0, stepMs = 0, eosId = 1, eosOneIn = 0, turn = nextTurn } = options;
  const info = infoOf(options);
  const memories = countedMemory();
  const sequences = new Map<SequenceId, Timeline>();
  const broken = new Set<SequenceId>();
  const inOrder = oneAtATime(turn);
  let lastId = 0;

  const timelineOf = (sequence: SequenceId): Timeline => {
    const timeline = sequences.get(sequence);
    if (timeline === undefined || broken.has(sequence)) throw refusal(`sequence ${sequence} is not open`);
    return timeline;
  };
  const vocabulary = { vocabSize: info.vocabSize, eosId, eosOneIn };
  const drawer = new Drawer(info.vocabSize);
  const draw = (timeline: Timeline, sampling: Sampling, allowed?: Allowed): Drawn =>
    allowed !== undefined || needsLogits(sampling)
      ? drawer.draw(logitsOf(timeline, vocabulary), sampling, timeline.position, timeline.counts, allowed)
      : { token: drawFrom(timeline, sampling, vocabulary) };
  const run = (timeline: Timeline, ids: ArrayLike<number>): Sealed[] => {
    if (timeline.position + ids.length > info.contextTokens) throw refusal(`the context is ${info.contextTokens} tokens long`);
    return extend(timeline, ids, info.vocabSize).map(({ index, rows }) => ({ index, payload: memories.hold(rows) }));
  };

  return {
    info,
    get held() {
      return { sequences: sequences.size, memories: memories.held };
    },
    allocate: (bytes) => memories.hold(new Uint8Array(bytes)),
    open: (start) =>
      inOrder(async () => {
        const sequence = ++lastId as SequenceId;
        const timeline = restored(start, info, memories);
        sequences.set(sequence, timeline);
        const { position, exactFrom } = timeline;
        return { sequence, position, exactFrom } satisfies Opened;
      }),
    prefill: (sequence, ids, { sample, allowed, onProgress, signal }: ChunkOptions = {}) =>
      inOrder(async () => {
        const timeline = timelineOf(sequence);
        if (ids.length === 0 || ids.length > info.chunkTokens)
          throw refusal(`a chunk has 1 to ${info.chunkTokens} tokens, not ${ids.length}`);
        try {
          for (let layer = 0; layer < info.layers; layer++) {
            signal?.throwIfAborted();
            if (chunkMs > 0) await clock.sleep(chunkMs / info.layers);
            onProgress?.(layer + 1, info.layers);
          }
          signal?.throwIfAborted();
        } catch (error) {
          broken.add(sequence);
          throw error;
        }
        const sealed = run(timeline, ids);
        return { sealed, ...(sample === undefined ? { token: null } : draw(timeline, sample, allowed)) } satisfies ChunkResult;
      }),
    step: (batch) =>
      inOrder(async () => {
        if (new Set(batch.map(({ sequence }) => sequence)).size !== batch.length) throw refusal("a step runs each sequence once");
        if (batch.length > info.batchMax) throw refusal(`a step runs at most ${info.batchMax} sequences`);
        const timelines = batch.map(({ sequence }) => timelineOf(sequence));
        if (stepMs > 0) await clock.sleep(stepMs);
        return batch.map((input, i) => {
          const timeline = timelines[i]!;
          const sealed = run(timeline, [input.token]);
          count(timeline.counts, input);
          return { sealed, ...draw(timeline, input.sample, input.allowed) };
        });
      }),
    boundary: (sequence) => inOrder(async () => boundaryOf(timelineOf(sequence))),
    close: (sequence) =>
      inOrder(async () => {
        broken.delete(sequence);
        const timeline = sequences.get(sequence);
        sequences.delete(sequence);
        for (const page of timeline?.pages ?? []) page.release();
      }),
    shutdown: () =>
      inOrder(async () => {
        for (const timeline of sequences.values()) for (const page of timeline.pages) page.release();
        sequences.clear();
      }),
  };
}

/** Most tests are of the cluster: for them a hash is enough, and costs nothing. */
const needsLogits = (sampling: Sampling): boolean =>
  sampling.bias !== undefined || sampling.topLogprobs !== undefined || penalises(sampling);

const refusal = (message: string) => new ServingError("INVALID_REQUEST", message);

function infoOf(options: WeightlessOptions): EngineInfo {
  const { segmentTokens = 128, vocabSize = 1_000, layers = 4 } = options;
  return {
    model: options.model ?? "weightless",
    fingerprint: new Uint8Array(32).fill(vocabSize & 255),
    kvLayout: "weightless-1",
    kernelPath: "none",
    mode: "exact",
    layers,
    vocabSize,
    contextTokens: options.contextTokens ?? 1_048_576,
    segmentTokens,
    segmentBytes: 4 * segmentTokens,
    stateBytes: 4,
    replayTokens: options.replayTokens ?? 128,
    chunkTokens: options.chunkTokens ?? 256,
    batchMax: options.batchMax ?? 32,
  };
}

function restored(start: SequenceStart, info: EngineInfo, memories: Counted): Timeline {
  const wrong = start.segments.findIndex(({ bytes }) => bytes.length !== info.segmentBytes);
  if (wrong >= 0) throw refusal(`segment ${wrong} has ${start.segments[wrong]!.bytes.length} bytes, not ${info.segmentBytes}`);
  const timeline = fresh(info.segmentTokens, info.replayTokens);
  restore(timeline, start);
  for (const segment of start.segments) timeline.pages.push(memories.share(segment));
  return timeline;
}

/** Runs one call after the other; those that come in one turn of the event loop share the next. A failed one does not hold up others. */
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
