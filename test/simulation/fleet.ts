import { decodeWorker } from "../../services/decode/worker.ts";
import { prefillWorker } from "../../services/prefill/worker.ts";
import type { Phase } from "../../services/shared/bus/events.ts";
import type { Engine } from "../../services/shared/engine/engine.ts";
import { openWeightlessEngine, type WeightlessEngine } from "../../services/shared/engine/weightless/weightless.ts";
import { type Metrics, openMetrics } from "../../services/shared/runtime/metrics.ts";
import type { WorkerDeps } from "../../services/shared/worker/deps.ts";
import { Pulse } from "../../services/shared/worker/pulse.ts";
import { countingPages } from "../support/held-pages.ts";
import { engineOptions, grammars, watchText } from "../support/model.ts";
import { overriding } from "../support/overriding.ts";
import { settings as workerSettings } from "../support/workers.ts";
import { logOf } from "./logbook.ts";
import { Process } from "./process.ts";
import { recordOf, storeOf } from "./wires.ts";
import { BEAT_MS, CLAIM_MS, type World } from "./world.ts";

const settings = { ...workerSettings, claimMs: CLAIM_MS, beatMs: BEAT_MS, flushMs: 20 };

const SEQUENCES_MAX = 6;
/** A worker that was told to stop is done within this. */
const DRAIN_MS = 30_000;

/** The workers of a run. Whoever ends has a successor soon. */
export class Fleet {
  readonly #world: World;
  readonly #workers: Worker[] = [];
  readonly #pace: Pace;
  #closing = false;
  #count = 0;

  constructor(world: World) {
    this.#world = world;
    const { dice } = world;
    const kvPages = dice.chance(0.5) ? dice.whole(1, 6) : 1e6;
    this.#pace = { chunkMs: dice.size(4, 1_000), stepMs: dice.size(1, 60), prefillSlots: dice.whole(1, 2), kvPages };
    for (const phase of ["prefill", "decode"] as const) for (let n = world.dice.whole(1, 3); n > 0; n--) this.#start(phase);
  }

  mishapsOf(worker: string): number {
    return this.#workers.find(({ process }) => process.name === worker)?.process.mishaps ?? 0;
  }

  thaw(): void {
    for (const { process } of this.#workers) process.thaw();
  }

  /** Ends everybody who lives, and looks what they leave behind. */
  async close(): Promise<void> {
    this.#closing = true;
    for (const worker of this.#workers) if (worker.process.running) worker.process.drain();
    await Promise.all(this.#workers.map(({ gone }) => gone));
  }

  #start(phase: Phase): void {
    const { clock, dice } = this.#world;
    const worker = startWorker(this.#world, phase, `${phase}-${++this.#count}`, this.#pace);
    this.#workers.push(worker);
    worker.process.onEnd(() => {
      const afterMs = dice.size(10, 5_000);
      if (!this.#closing) clock.after(afterMs, () => this.#start(phase));
    });
  }
}

interface Worker {
  readonly process: Process;
  /** Resolves when it died or ended. */
  readonly gone: Promise<void>;
}

interface Pace {
  readonly chunkMs: number;
  readonly stepMs: number;
  readonly prefillSlots: number;
  /** What the sequences of a worker may hold together. */
  readonly kvPages: number;
}

function startWorker(world: World, phase: Phase, name: string, { chunkMs, stepMs, prefillSlots, kvPages }: Pace): Worker {
  const process = new Process(world, name);
  const { clock } = process;
  process.note("starts");
  const engine = openWeightlessEngine({
    ...engineOptions,
    chunkMs,
    stepMs,
    layers: 2,
    batchMax: SEQUENCES_MAX,
    clock,
    turn: () => clock.sleep(0),
  });
  const pages = countingPages(engine);
  const metrics = openMetrics();
  const deps: WorkerDeps = {
    bus: recordOf(world, process),
    engine: engineOf(world, process, pages.engine),
    engineFailure: () => null,
    grammars,
    pulse: new Pulse(),
    store: storeOf(world, process),
    clock,
    log: logOf(world, process),
    metrics,
  };
  const stop = new AbortController();
  process.onDrain(() => {
    stop.abort(new Error("told to stop"));
    world.clock.after(DRAIN_MS + world.weather.freezeMs, () => {
      if (!process.dead) world.judge.fault(`${name} was told to stop and does not`);
    });
  });
  const kvBytes = kvPages * engine.info.segmentBytes + SEQUENCES_MAX * engine.info.stateBytes;
  const own = { ...settings, worker: name, chunkMs, prefillSlots, kvBytes }; // turns are some chunks long
  const done = phase === "prefill" ? prefillWorker(deps, own, stop.signal) : decodeWorker(deps, own, watchText, stop.signal);
  done.then(
    () => {
      if (pages.most.pages > kvPages) world.judge.fault(`${name} held ${pages.most.pages} pages and may hold ${kvPages}`);
      leave(world, process, engine, metrics, stop.signal.aborted);
    },
    (error) => world.judge.fault(`${name} ended with ${error}`),
  );
  return { process, gone: new Promise((resolve) => process.onEnd(resolve)) };
}

/** Who ends by itself leaves nothing behind. */
function leave(world: World, process: Process, engine: WeightlessEngine, metrics: Metrics, told: boolean): void {
  const { sequences, memories } = engine.held;
  if (!told) world.judge.fault(`${process.name} ended without being told`);
  if (sequences + memories > 0) world.judge.fault(`${process.name} ended with ${sequences} sequences and ${memories} memories held`);
  const held = metrics.gauge("longshore_worker_jobs_held", "Jobs held now.", ["phase"]);
  void held.get().then(({ values }) => {
    if (values.some(({ value }) => value !== 0)) world.judge.fault(`${process.name} ended and counts held jobs`);
  });
  process.exit();
}

function engineOf(world: World, process: Process, engine: Engine): Engine {
  const mayFail = () => {
    if (!world.stormy || !process.dice.chance(world.weather.engineFailures)) return;
    process.mishaps++;
    process.note("its engine fails");
    throw new Error("the engine failed");
  };
  const failing = overriding(engine, {
    prefill: async (sequence, ids, options) => {
      mayFail();
      return engine.prefill(sequence, ids, options);
    },
    step: async (batch) => {
      mayFail();
      return engine.step(batch);
    },
  });
  return world.bug.engine?.(failing, process, world) ?? failing;
}
