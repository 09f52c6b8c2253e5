import type { Bus, Waiting } from "../../shared/bus/contract.ts";
import { LANES, type Lane } from "../../shared/bus/events.ts";
import type { Clock } from "../../shared/runtime/clock.ts";
import { Prompts } from "./prompts.ts";

/** Looking at the queues takes at most one part in COST of the time, and as much again of the server's. */
const COST = 20;

/** Work that waits or is under way. */
export interface Load {
  readonly jobsIn: Readonly<Record<Lane, number>>;
  /** Of jobs before decode. */
  readonly prompts: Readonly<Record<Lane, Prompts>>;
  /** Expected of all jobs. */
  readonly outputTokens: Readonly<Record<Lane, number>>;
  /** What of it is one tenant's (`ownerOf`). */
  owned(owner: string): Owned;
}

/** Work of one tenant. */
export interface Owned {
  /** Of prompts before decode and of answers, in all lanes. */
  readonly tokens: number;
  readonly jobsIn: Readonly<Record<Lane, number>>;
  /** Of prompts in the interactive lane. */
  readonly promptTokens: number;
}

/** What is counted of a job. */
export type Weight = Pick<Waiting, "lane" | "promptTokens" | "outputTokens" | "owner">;

/** A job that is counted before it is in the queue. */
export interface Counted {
  /** It is there, or will not come: the next look tells. */
  readonly queued: () => void;
  /** It is not on its way any more, and counts no longer. Instead of `queued`. */
  readonly forget: () => void;
}

/** What waits in the queues for one model, as of a moment ago, and what this replica added since. */
export class Backlog {
  readonly #bus: Bus;
  readonly #clock: Clock;
  readonly #model: string;
  readonly #added = new Set<{ readonly job: Weight; queued: boolean }>();
  #looking: Promise<void> | null = null;
  #nextMs = Number.NEGATIVE_INFINITY;
  #load = new Sum();

  constructor(bus: Bus, clock: Clock, model: string) {
    this.#bus = bus;
    this.#clock = clock;
    this.#model = model;
  }

  /** Rejects with UNAVAILABLE while the record is away. */
  async load(): Promise<Load> {
    if (this.#clock.monotonicMs() >= this.#nextMs) {
      this.#looking ??= this.#look().finally(() => {
        this.#looking = null;
      });
      await this.#looking;
    }
    return this.#load;
  }

  /** As of the last look, and what was added up to this moment. */
  get known(): Load {
    return this.#load;
  }

  /** Counts a job that is on its way into the queue, until it is there and was seen there. */
  add(job: Weight): Counted {
    const entry = { job, queued: false };
    this.#added.add(entry);
    this.#load.add(job);
    return {
      queued: () => {
        entry.queued = true;
      },
      forget: () => {
        this.#added.delete(entry);
        this.#load.add(job, -1);
      },
    };
  }

  async #look(): Promise<void> {
    const startMs = this.#clock.monotonicMs();
    const queued = [...this.#added].filter((entry) => entry.queued);
    const [prefill, decode] = await Promise.all([this.#bus.queue.messages("prefill"), this.#bus.queue.messages("decode")]);
    const own = (jobs: readonly Waiting[]) => jobs.filter(({ model }) => model === this.#model);
    const inDecode = own(decode).map((job) => ({ ...job, promptTokens: 0 }));
    for (const entry of queued) this.#added.delete(entry);
    this.#load = new Sum();
    for (const job of [...own(prefill), ...inDecode, ...Array.from(this.#added, ({ job }) => job)]) this.#load.add(job);
    const endMs = this.#clock.monotonicMs();
    this.#nextMs = endMs + COST * (endMs - startMs);
  }
}

const noJobs = () => ({ interactive: 0, surplus: 0, batch: 0 });
const NOTHING: Owned = { tokens: 0, jobsIn: noJobs(), promptTokens: 0 };

/** In all lanes. */
export const jobsOf = ({ jobsIn }: Pick<Load, "jobsIn">): number => LANES.reduce((sum, lane) => sum + jobsIn[lane], 0);

class Sum implements Load {
  readonly jobsIn = noJobs();
  readonly prompts = { interactive: new Prompts(), surplus: new Prompts(), batch: new Prompts() };
  readonly outputTokens = { interactive: 0, surplus: 0, batch: 0 };
  readonly #owned = new Map<string, { tokens: number; jobsIn: ReturnType<typeof noJobs>; promptTokens: number }>();

  add({ lane, promptTokens, outputTokens, owner }: Weight, times: 1 | -1 = 1): void {
    this.jobsIn[lane] += times;
    this.prompts[lane].add(promptTokens, times);
    this.outputTokens[lane] += times * outputTokens;
    const owned = this.#owned.get(owner) ?? { ...NOTHING, jobsIn: noJobs() };
    this.#owned.set(owner, owned);
    owned.jobsIn[lane] += times;
    owned.tokens += times * (promptTokens + outputTokens);
    if (lane === "interactive") owned.promptTokens += times * promptTokens;
  }

  owned(owner: string): Owned {
    return this.#owned.get(owner) ?? NOTHING;
  }
}
