import { decodeWorker } from "../../services/decode/worker.ts";
import { prefillWorker } from "../../services/prefill/worker.ts";
import type { Phase } from "../../services/shared/bus/events.ts";
import type { Grammars } from "../../services/shared/engine/grammar/grammars.ts";
import { openWeightlessEngine, type WeightlessEngine } from "../../services/shared/engine/weightless/weightless.ts";
import { ServingError } from "../../services/shared/runtime/errors.ts";
import { type Metrics, openMetrics } from "../../services/shared/runtime/metrics.ts";
import type { WorkerDeps } from "../../services/shared/worker/deps.ts";
import { Pulse } from "../../services/shared/worker/pulse.ts";
import type { Dice } from "../support/dice.ts";
import { countingPages } from "../support/held-pages.ts";
import { grammars, watchText } from "../support/model.ts";
import { overriding } from "../support/overriding.ts";
import { settings as workerSettings } from "../support/workers.ts";
import { engineOptions } from "./customer.ts";
import { engineOf } from "./engine.ts";
import { followed } from "./grammar.ts";
import { logOf } from "./logbook.ts";
import { Process } from "./process.ts";
import { recordOf, storeOf } from "./wires.ts";
import { BEAT_MS, CLAIM_MS, type World } from "./world.ts";

const settings = { ...workerSettings, claimMs: CLAIM_MS, beatMs: BEAT_MS };

/** The slowest answer of a grammar's thread. */
const GRAMMAR_MS = 1_000;
/** A worker that was told to stop is done within this. */
const DRAIN_MS = 30_000;

/** The workers of a run. One that ends has a successor soon. */
export class Fleet {
  readonly #world: World;
  readonly #workers: Worker[] = [];
  readonly #pace: Pace;
  #closing = false;
  #count = 0;

  constructor(world: World) {
    this.#world = world;
    const { dice } = world;
    this.#pace = { chunkMs: dice.size(4, 1_000), stepMs: dice.size(1, 60) };
    for (const phase of ["prefill", "decode"] as const) for (let n = world.dice.whole(1, 3); n > 0; n--) this.#start(phase);
  }

  mishapsOf(worker: string): number {
    return this.#workers.find(({ process }) => process.name === worker)?.process.mishaps ?? 0;
  }

  thaw(): void {
    for (const { process } of this.#workers) process.thaw();
  }

  /** Ends every worker that lives; each is checked for what it leaves behind. */
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
}

/** What may differ from worker to worker. */
const traitsOf = (dice: Dice) => ({
  prefillSlots: dice.whole(1, 3),
  /** Pages that its sequences may hold together. */
  kvPages: dice.chance(0.5) ? dice.whole(1, 6) : 1e6,
  /** Sequences of a step. */
  batchMax: dice.whole(1, 6),
  chunkTokens: dice.pick([64, 96, 512]),
  boundaryTokens: dice.pick([128, 256, 1_024]),
  uploadsMax: dice.whole(1, 3),
  flushTokens: dice.whole(1, 8),
  flushMs: dice.size(1, 50),
});

function startWorker(world: World, phase: Phase, name: string, { chunkMs, stepMs }: Pace): Worker {
  const process = new Process(world, name);
  const { clock } = process;
  const { batchMax, chunkTokens, kvPages, ...traits } = traitsOf(process.dice);
  const release = process.dice.whole(1, world.weather.releases);
  process.note(`starts, of release ${release}`);
  const turn = () => clock.sleep(0);
  const engine = openWeightlessEngine({ ...engineOptions, chunkMs, stepMs, layers: 2, batchMax, chunkTokens, clock, turn });
  const info = { ...engine.info, kvLayout: `weightless-${release}` };
  const pages = countingPages(overriding(engine, { info }));
  const metrics = openMetrics();
  const deps: WorkerDeps = {
    bus: recordOf(world, process),
    engine: engineOf(world, process, pages.engine),
    engineFailure: () => null,
    grammars: overriding(grammars, { follow: followOf(world, process) }),
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
  const sequences = phase === "prefill" ? traits.prefillSlots : batchMax;
  const kvBytes = kvPages * info.segmentBytes + sequences * info.stateBytes;
  const own = { ...settings, ...traits, worker: name, chunkMs, kvBytes }; // turns are some chunks long
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

/** A worker that ends by itself leaves nothing behind. */
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

function followOf(world: World, process: Process): Grammars["follow"] {
  const { dice, clock } = process;
  const fails = () => world.stormy && dice.chance(world.weather.grammarFailures);
  const trouble = async () => {
    await clock.sleep(dice.size(1, GRAMMAR_MS));
    if (!fails()) return;
    process.mishaps++;
    throw new ServingError("UNAVAILABLE", "the grammars' thread ended");
  };
  return followed(trouble, fails);
}
