import type { Noted } from "../../shared/bus/contract.ts";
import { isTerminal, type LogRecord } from "../../shared/bus/events.ts";
import { quietMs } from "../../shared/bus/standing.ts";
import { atMost } from "../../shared/runtime/at-most.ts";
import { leftBy, readersOf, type Shown } from "../beats.ts";
import type { Replicas } from "../replicas.ts";
import { type Note, readNote } from "./jobs.ts";

/** Jobs remembered, and those read of the index when this replica first sees a retry. */
const JOBS_MAX = 20_000;
/** Of one body: equal requests that are under way at once. */
const ALIKE_MAX = 64;
const PAGE = 1_000;
const LOOKS_AT_ONCE = 16;

type RetriesDeps = Pick<Shown, "bus" | "graceMs" | "replica"> & { readonly replicas: Pick<Replicas, "isGone"> };

/** A job that was asked for with a body, and the replica that took it. */
interface TakenJob {
  readonly jobId: string;
  readonly replica: string;
}

/**
 * Finds the job that a request which is sent again asked for the first time: the tenant's latest with the same body that has lost its reader.
 * Each is found by one retry. Equal requests that are no retries are never one job (design 4.5).
 */
export class Retries {
  readonly #deps: RetriesDeps;
  /** By tenant and body: those of one in the order of the index, and bodies by their latest. */
  readonly #asked = new Map<string, readonly TakenJob[]>();
  #count = 0;
  /** What was heard last of the index. */
  #last: Pick<Noted, "place" | "jobId"> | null = null;
  /** All who come at once hear the index once. */
  #hearing: Promise<void> | null = null;
  /** When a job was joined here, counted in joins: who looked at it before that knows nothing of it. */
  readonly #joinedAt = new Map<string, number>();
  #joins = 0;

  constructor(deps: RetriesDeps) {
    this.#deps = deps;
  }

  /** The job to join; whoever asked must read it soon, and is seen to read it from now on. Null: there is none, and the request is a new one. */
  async join(tenant: string, bodyHash: string): Promise<string | null> {
    this.#hearing ??= this.#hear().finally(() => {
      this.#hearing = null;
    });
    await this.#hearing;
    const joins = this.#joins;
    const alike = (this.#asked.get(keyOf(tenant, bodyHash)) ?? []).toReversed();
    const waitedFor = new Map<TakenJob, readonly string[]>();
    await atMost(LOOKS_AT_ONCE, alike, async (asked) => {
      const attending = await this.#attending(asked);
      if (attending !== null) waitedFor.set(asked, attending);
    });
    for (const asked of alike) if (waitedFor.get(asked)?.length === 0 && (await this.#takes(asked.jobId, joins))) return asked.jobId;
    const gone = await this.#goneOf(new Set([...waitedFor.values()].flat()));
    for (const asked of alike.filter((one) => waitedFor.get(one)?.every((replica) => gone.has(replica)))) {
      const attending = await this.#attending(asked); // that was a while ago
      if (attending?.every((replica) => gone.has(replica)) && (await this.#takes(asked.jobId, joins))) return asked.jobId;
    }
    return null;
  }

  /** The retry that joined the job read its answer to the end: another that asked for the same waits for one of its own. */
  async answered(jobId: string): Promise<void> {
    await this.#deps.bus.registry.remember(answerOf(jobId), "");
  }

  /**
   * The replicas that must be gone before the job has no reader: those that read it, and the one that took it unless that said that its reader
   * left. Null: it is not to be joined. What cannot be read, or ended without an answer, is asked anew.
   */
  async #attending({ jobId, replica }: TakenJob): Promise<readonly string[] | null> {
    const { log, registry } = this.#deps.bus;
    const last = await log.lastStored(jobId);
    if (last === null || last.record === null) return null;
    if (isTerminal(last.record.event) && !(await this.#isWaitedFor(last.record, last.storedMs))) return null;
    const readers = [...(await registry.beats(readersOf(jobId))).keys()];
    const attending = (await registry.beats(leftBy(jobId))).size > 0 ? readers : [...readers, replica];
    return attending.includes(this.#deps.replica) ? null : attending;
  }

  /** A replica that is gone does not say whether its reader had the answer: after the grace he had it, or gave up. */
  async #isWaitedFor({ jobId, event }: LogRecord, storedMs: number): Promise<boolean> {
    const { bus, graceMs } = this.#deps;
    if (event.type !== "finished" || quietMs(storedMs, await bus.log.nowMs(storedMs)) >= graceMs) return false;
    return (await bus.registry.recall(answerOf(jobId))) === null;
  }

  async #goneOf(replicas: ReadonlySet<string>): Promise<ReadonlySet<string>> {
    const gone = new Set<string>();
    await Promise.all([...replicas].map(async (replica) => (await this.#deps.replicas.isGone(replica)) && gone.add(replica)));
    return gone;
  }

  /** Shows a reader here. `joins`: how many there were before the job was looked at. Of two replicas that do so at once neither has it. */
  async #takes(jobId: string, joins: number): Promise<boolean> {
    const { bus, replica, replicas } = this.#deps;
    if ((this.#joinedAt.get(jobId) ?? 0) > joins) return false;
    this.#noteJoin(jobId);
    await bus.registry.beat(readersOf(jobId), replica, "");
    const others = [...(await bus.registry.beats(readersOf(jobId))).keys()].filter((reader) => reader !== replica);
    if ((await Promise.all(others.map((other) => replicas.isGone(other)))).every(Boolean)) return true;
    await bus.registry.retire(readersOf(jobId), replica);
    return false;
  }

  #noteJoin(jobId: string): void {
    this.#joinedAt.delete(jobId);
    this.#joinedAt.set(jobId, ++this.#joins);
    const [oldest] = this.#joinedAt.keys();
    if (this.#joinedAt.size > JOBS_MAX && oldest !== undefined) this.#joinedAt.delete(oldest);
  }

  async #hear(): Promise<void> {
    const { registry } = this.#deps.bus;
    if (this.#last !== null && (await this.#isAnother(this.#last))) this.#last = null;
    if (this.#last === null) this.#take([...(await registry.jobs(JOBS_MAX))].reverse());
    for (;;) {
      const notes = await registry.notes(this.#last?.place ?? 0, PAGE);
      this.#take(notes);
      if (notes.length < PAGE) return;
    }
  }

  /** Whether the index is not the one that was heard: in a record that was restored, jobs are noted at places that were heard already. */
  async #isAnother({ place, jobId }: Pick<Noted, "place" | "jobId">): Promise<boolean> {
    const { registry } = this.#deps.bus;
    const [first] = await registry.notes(place - 1, 1);
    return first?.place === place ? first.jobId !== jobId : first === undefined && (await registry.indexEnd()) < place;
  }

  #take(notes: readonly Noted[]): void {
    for (const note of notes) {
      const { tenant, body, replica } = readNote(note) ?? {};
      if (tenant !== undefined && body !== undefined && replica !== undefined)
        this.#remember(keyOf(tenant, body), { jobId: note.jobId, replica });
    }
    this.#last = notes.at(-1) ?? this.#last;
  }

  #remember(key: string, asked: TakenJob): void {
    const others = (this.#asked.get(key) ?? []).filter(({ jobId }) => jobId !== asked.jobId);
    this.#forget(key);
    const alike = [...others.slice(1 - ALIKE_MAX), asked];
    this.#asked.set(key, alike);
    this.#count += alike.length;
    for (const oldest of this.#asked.keys()) {
      if (this.#count <= JOBS_MAX) break;
      this.#forget(oldest);
    }
  }

  #forget(key: string): void {
    this.#count -= this.#asked.get(key)?.length ?? 0;
    this.#asked.delete(key);
  }
}

const answerOf = (jobId: string): string => `answer of ${jobId}`;
const keyOf = (tenant: Note["tenant"], bodyHash: string): string => `${tenant}\n${bodyHash}`;
