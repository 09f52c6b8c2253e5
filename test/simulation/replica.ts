import { Admission } from "../../services/api/admission/admission.ts";
import { followAnswer } from "../../services/api/answer/follow.ts";
import { cancelJob } from "../../services/api/jobs/jobs.ts";
import { reconcileUntil } from "../../services/api/reconciler/reconcile-until.ts";
import { type Submission, submit } from "../../services/api/submit.ts";
import type { Bus } from "../../services/shared/bus/contract.ts";
import { isTerminal, type LogRecord } from "../../services/shared/bus/events.ts";
import { Reach } from "../../services/shared/bus/reach.ts";
import { ServingError } from "../../services/shared/runtime/errors.ts";
import { openMetrics } from "../../services/shared/runtime/metrics.ts";
import { letter } from "../support/model.ts";
import { logOf } from "./logbook.ts";
import { Process } from "./process.ts";
import { recordOf } from "./wires.ts";
import { BEAT_MS, CLAIM_MS, type World } from "./world.ts";

/** How long a customer waits for an answer. */
const ANSWER_MS = 15_000;

export const tokenizer = { bytesOf: (id: number) => Buffer.from(letter(id)), ids: { thinkEnd: null } };

/** One API replica, without its sockets. */
export class Replica {
  readonly process: Process;
  readonly #world: World;
  readonly #bus: Bus;
  readonly #admission: Admission;
  /** How the logs of jobs that were submitted here begin, for their readers here. */
  readonly #logs = new Map<string, readonly LogRecord[]>();

  constructor(world: World, name: string) {
    this.#world = world;
    this.process = new Process(world, name);
    this.process.note("starts");
    this.process.onDrain(() => this.process.exit());
    this.#bus = recordOf(world, this.process);
    const { clock, dice } = this.process;
    this.#admission = new Admission(this.#bus, clock, "m", {
      queueJobsMax: world.weather.messagesMax,
      backlogTokensMax: 1e9,
      shareMs: world.weather.shareMs,
    });
    const log = logOf(world, this.process);
    const reach = new Reach(log, clock);
    const options = { bus: this.#bus, clock, random: dice.random, log, reach, metrics: openMetrics(), replica: name };
    void reconcileUntil({ ...options, claimMs: CLAIM_MS, graceMs: 1e9, beatMs: BEAT_MS, retentionMs: 1e9 }, new AbortController().signal);
  }

  /** `submission` is made in the replica, with a deadline by the record's clock. */
  submit(submission: (nowMs: number) => Submission): Promise<string> {
    const { clock, dice } = this.process;
    const deps = { bus: this.#bus, random: dice.random, clock, admission: this.#admission };
    return this.#call(async () => {
      const { jobId, log } = await submit(deps, submission(await this.#bus.log.nowMs()));
      if (log !== undefined) this.#logs.set(jobId, log);
      return jobId;
    });
  }

  cancel(jobId: string): Promise<boolean> {
    return this.#call(() => cancelJob(this.#bus, jobId, "a customer"));
  }

  /** The job's events after `after` as they come; a reader may be slow. Ends with the job, or with the connection. */
  async records(jobId: string, after: number, pauseMs: number, receive: (record: LogRecord) => void): Promise<void> {
    const gone = new AbortController();
    await this.#stream(async () => {
      for await (const record of this.#bus.log.follow(jobId, after, gone.signal)) {
        receive(record);
        if (pauseMs > 0 && !isTerminal(record.event)) await this.process.clock.sleep(pauseMs);
      }
    });
  }

  /** The text of the answer and the code it ended with. */
  async text(jobId: string, after: number, receive: (sequence: number, text: string, end: string | null) => void): Promise<void> {
    const gone = new AbortController();
    await this.#stream(async () => {
      try {
        for await (const { record, deltas, end } of followAnswer(this.#bus, tokenizer, jobId, gone.signal, this.#logs.get(jobId))) {
          if (record.sequence <= after) continue;
          const text = deltas.map((delta) => ("text" in delta ? delta.text : "")).join("");
          receive(record.sequence, text, end?.reason ?? null);
        }
      } catch (thrown) {
        const { code } = ServingError.from(thrown);
        if (code === "UNAVAILABLE") throw thrown;
        receive(after, "", code);
      }
    });
  }

  /**
   * A request and its answer. Rejects when the connection breaks or no answer comes in time: whether it was done is
   * then unknown.
   */
  #call<T>(act: () => Promise<T>): Promise<T> {
    const { clock, dice } = this.#world;
    const there = dice.upTo(20);
    const back = dice.upTo(20);
    return this.#connected((resolve, reject) => {
      clock.after(ANSWER_MS, () => reject(new Error("no answer")));
      clock.after(there, () => this.process.run(() => act().then((value) => clock.after(back, () => resolve(value)), reject)));
    });
  }

  #stream(act: () => Promise<void>): Promise<void> {
    return this.#connected((resolve, reject) => this.process.run(() => act().then(resolve, reject)));
  }

  async #connected<T>(act: (resolve: (value: T) => void, reject: (error: unknown) => void) => void): Promise<T> {
    let hangUp = () => {};
    const broken = new Promise<never>((_, reject) => {
      hangUp = this.process.onEnd(() => reject(new Error("the connection broke")));
    });
    try {
      return await Promise.race([new Promise<T>(act), broken]);
    } finally {
      hangUp();
    }
  }
}

/** The replicas of a run. One that ends has a successor at once. */
export class Replicas {
  readonly #world: World;
  readonly #replicas: Replica[] = [];
  #count = 0;

  constructor(world: World) {
    this.#world = world;
    for (let n = world.dice.whole(1, 3); n > 0; n--) this.#start();
  }

  /** A load balancer that knows which replicas are dead, not which are frozen. */
  any(): Replica {
    return this.#world.dice.pick(this.#replicas);
  }

  thaw(): void {
    for (const { process } of this.#replicas) process.thaw();
  }

  #start(): void {
    const replica = new Replica(this.#world, `api-${++this.#count}`);
    this.#replicas.push(replica);
    replica.process.onEnd(() => {
      this.#replicas.splice(this.#replicas.indexOf(replica), 1);
      this.#start();
    });
  }
}
