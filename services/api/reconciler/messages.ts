import type { Bus, Waiting } from "../../shared/bus/contract.ts";
import { isDamaged } from "../../shared/bus/damage.ts";
import type { LogRecord, Phase } from "../../shared/bus/events.ts";
import { quietMs } from "../../shared/bus/standing.ts";

/** Claim times after which every message that somebody was given and said nothing about has come again. */
const GIVEN_AGAIN = 3;
/** A message that was handed back may wait so long before it is given again. */
const HANDED_BACK_MS = 30_000;

/** Where a message lies. */
export type Place = Pick<Waiting, "model" | "lane"> & { readonly phase: Phase };
/** The messages of a job. */
export type Places = ReadonlyMap<Phase, Place>;

/** The jobs that have messages. Prefill first: a job that moves on meanwhile gets its decode message before it loses this one. */
export async function withMessage({ queue }: Bus): Promise<ReadonlyMap<string, Places>> {
  const found = new Map<string, Map<Phase, Place>>();
  for (const phase of ["prefill", "decode"] as const)
    for (const { jobId, model, lane } of await queue.messages(phase))
      found.set(jobId, (found.get(jobId) ?? new Map<Phase, Place>()).set(phase, { phase, model, lane }));
  return found;
}

/** Messages that lie in a queue, and that nobody seems to be given: a killed nats-server may keep such ones. */
export class StuckMessages {
  readonly #bus: Bus;
  readonly #claimMs: number;
  /** Where they lie, and whose they are. */
  readonly #suspected = new Map<string, { readonly place: Place; readonly jobIds: string[] }>();
  /** When messages were given out again last. */
  #renewedMs = 0;

  constructor(bus: Bus, claimMs: number) {
    this.#bus = bus;
    this.#claimMs = claimMs;
  }

  /** The job has been silent for so long: by then a worker that asks has been given its message, whatever became of it before. */
  look({ jobId, event }: LogRecord, place: Place, silenceMs: number): void {
    if (silenceMs < GIVEN_AGAIN * this.#claimMs + (event.type === "released" ? HANDED_BACK_MS : 0)) return;
    const key = JSON.stringify(place);
    const stuck = this.#suspected.get(key) ?? { place, jobIds: [] };
    stuck.jobIds.push(jobId);
    this.#suspected.set(key, stuck);
  }

  /** Jobs may wait long because there are many before them; but then nobody asks for work in vain. Resolves to the number of lanes that were given out again. */
  async renew(nowMs: number): Promise<number> {
    const suspected = [...this.#suspected.values()];
    this.#suspected.clear();
    if (quietMs(this.#renewedMs, nowMs) < GIVEN_AGAIN * this.#claimMs) return 0;
    let renewed = 0;
    for (const { place, jobIds } of suspected) {
      if (!(await this.#someCanBeRead(jobIds)) || !(await this.#bus.queue.renew(place.phase, place.model, place.lane))) continue;
      this.#renewedMs = nowMs;
      renewed++;
    }
    return renewed;
  }

  /** A job that cannot be read is claimed by nobody, though its message is given. Mostly the first can: one log is read, not each. */
  async #someCanBeRead(jobIds: readonly string[]): Promise<boolean> {
    for (const jobId of jobIds) {
      try {
        await this.#bus.log.read(jobId);
        return true;
      } catch (thrown) {
        if (!isDamaged(thrown)) throw thrown;
      }
    }
    return false;
  }
}
