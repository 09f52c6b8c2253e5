import type { Engine, Sealed } from "../engine/engine.ts";
import { heapMemory } from "../runtime/memory.ts";
import type { SegmentKey } from "../segments/contract.ts";
import type { KeySpace } from "../segments/keys.ts";
import { Addresses } from "./addresses.ts";
import { boundaryPlaces } from "./boundary-places.ts";
import type { WorkerDeps, WorkerSettings } from "./deps.ts";
import type { HeldJob } from "./held-job.ts";
import { lastProgress } from "./history.ts";
import { Keeping, type KeepingDeps } from "./keeping.ts";
import { crowded, Holding, type KvRoom } from "./kv-room.ts";
import { loadLeading } from "./load-leading.ts";
import type { Pulse } from "./pulse.ts";
import type { Taken } from "./shelf.ts";

/** Segments fetched at once for one job: enough that the store always has some to ask for while others are checked. */
export const LOADS_MAX = 32;
/** Tenants whose key spaces are kept: each is hashed once. */
const SPACES_MAX = 1_024;

interface ContextDeps extends KeepingDeps {
  readonly engine: Engine;
  readonly room: KvRoom;
  readonly boundaryTokens: number;
  /** What arrives for one job shows all that wait in line for the store that it answers. */
  readonly pulse: Pulse;
}

/** Makes the contexts of one worker's jobs, which share its room: of a prompt, and of all logged tokens but the last, which the next step feeds. The ids may grow by `moreMax`. */
export function contextFactory(
  { engine, store, log, pulse }: Pick<WorkerDeps, "engine" | "store" | "log" | "pulse">,
  settings: WorkerSettings,
  room: KvRoom,
) {
  const { sharedSalt, strictNumerics, uploadsMax, boundaryTokens } = settings;
  const deps: ContextDeps = { engine, store, log, room, uploadsMax, boundaryTokens, pulse };
  const { fingerprint, kvLayout, layers, kernelPath } = engine.info;
  const path = strictNumerics ? kernelPath : null;
  const spaces = new Map<string, KeySpace>();
  const spaceOf = (tenant: string): KeySpace => {
    const known = spaces.get(tenant);
    if (known !== undefined) return known;
    const salt = JSON.stringify([sharedSalt, tenant]);
    const space = { fingerprint, layout: kvLayout, firstLayer: 0, layerCount: layers, salt, path };
    if (spaces.size === SPACES_MAX) spaces.clear();
    spaces.set(tenant, space);
    return space;
  };
  return (job: HeldJob, prompt: ArrayLike<number>, logged: readonly number[] = [], moreMax = 0): Context =>
    new Context(deps, spaceOf(job.request.tenant), job, prompt, logged.slice(0, -1), moreMax);
}

/** Where a sequence can start. */
export interface Found {
  /** Segments 0, 1, 2, ... without a hole, on loan from the shelf until `release`. */
  readonly segments: readonly Taken[];
  readonly boundary: { readonly position: number; readonly bytes: Uint8Array } | null;
  /** Tokens whose rows need not be computed. */
  readonly storedTokens: number;
}

/** The ids of one job's sequence, prompt and answer, and what the store keeps of it. */
export class Context {
  readonly #deps: ContextDeps;
  readonly #job: HeldJob;
  readonly #ids: Int32Array;
  readonly #addresses: Addresses;
  readonly #keeping: Keeping;
  readonly #holding: Holding;
  #length: number;
  /** Gives up what neighbours had loaded when it came. */
  #letGo: (() => void)[] = [];
  #loans: readonly Taken[] = [];

  /** Room for `moreMax` more ids. What is fetched keeps the job's claim. */
  constructor(deps: ContextDeps, space: KeySpace, job: HeldJob, prompt: ArrayLike<number>, fed: readonly number[], moreMax: number) {
    this.#deps = deps;
    this.#job = job;
    this.#holding = new Holding(job);
    this.#length = prompt.length + fed.length;
    this.#ids = new Int32Array(this.#length + moreMax);
    this.#ids.set(prompt);
    this.#ids.set(fed, prompt.length);
    this.#addresses = new Addresses(deps.engine.info, space, this.#ids);
    this.#keeping = new Keeping(deps, job, this.#addresses);
  }

  get ids(): Int32Array {
    return this.#ids.subarray(0, this.#length);
  }

  get segmentTokens(): number {
    return this.#deps.engine.info.segmentTokens;
  }

  push(id: number): void {
    this.#ids[this.#length++] = id;
  }

  /** Key of a whole segment. */
  key(index: number): SegmentKey {
    return this.#addresses.key(index);
  }

  /** Takes room for a sequence of `tokens` tokens, before anything of it is loaded. What neighbours have loaded of it stays here. The job's turn begins then. Throws Interrupted: crowded where there is none, or what interrupted the job. */
  async enter(tokens: number): Promise<void> {
    const { room } = this.#deps;
    for (let index = 0; (index + 1) * this.segmentTokens <= this.#length; index++) {
      const letGo = room.shelf.keep(this.key(index));
      if (letGo === null) break;
      this.#letGo.push(letGo);
    }
    this.#holding.shared = this.#letGo.length;
    await room.enter(this.#holding, tokens);
    this.#job.turn.begin();
  }

  /** Whether there is room for one more token. */
  grow(): boolean {
    return this.#deps.room.grow(this.#holding, this.#length + 1);
  }

  /** How many leading segments of the first `tokens` tokens the store has, as far as it knows. */
  countStored(tokens: number): Promise<number> {
    const count = Math.floor(tokens / this.segmentTokens);
    return this.#deps.store.countPrefix(Array.from({ length: count }, (_, index) => this.key(index)));
  }

  /** The best start of which at most `tokens` tokens and `stored` segments are in the store. `endings`: ids that end an answer, where earlier jobs left a boundary. Throws what interrupted the job. */
  async find(tokens: number, stored: number, endings: readonly number[]): Promise<Found> {
    const count = Math.max(stored, Math.min(this.#letGo.length, Math.floor(tokens / this.segmentTokens))); // what is here the store may have forgotten
    const behind = (segments: number) => this.#bestBoundary(segments * this.segmentTokens, tokens, endings);
    let ahead = null as ReturnType<typeof behind> | null;
    const segments = await loadLeading(count, LOADS_MAX, (index) => {
      const loan = this.#borrow(index);
      if (index === count - 1) {
        ahead = behind(count); // beside the last segments
        ahead.catch(() => {}); // it may fail before anybody waits for it
      }
      return loan;
    });
    this.#loans = segments;
    for (const letGo of this.#letGo.splice(0)) letGo();
    if (!this.#deps.room.share(this.#holding, segments.length)) throw crowded();
    const end = segments.length * this.segmentTokens;
    const boundary = await (segments.length === count && ahead !== null ? ahead : behind(segments.length));
    return { segments, boundary, storedTokens: Math.max(end, boundary?.position ?? 0) };
  }

  /** Stores a segment while the caller goes on. Takes over the payload. */
  keep(sealed: Sealed): void {
    this.#keeping.segment(sealed);
  }

  /** Stores the boundary of a sequence at `position` while the caller goes on. */
  keepBoundary(position: number, bytes: Uint8Array): void {
    this.#keeping.boundary(position, bytes);
  }

  /** Resolves once the store has caught up enough for the engine to go on. */
  caughtUp(): Promise<void> {
    return this.#keeping.caughtUp();
  }

  /** Resolves once everything kept so far is stored or given up. */
  settled(): Promise<void> {
    return this.#keeping.settled();
  }

  /** Returns what was on loan, gives up what the store refused, and leaves the room. Called once settled. Idempotent. */
  release(): void {
    for (const loan of this.#loans) loan.putBack();
    for (const letGo of this.#letGo.splice(0)) letGo();
    this.#loans = [];
    this.#keeping.giveUp();
    this.#deps.room.leave(this.#holding);
  }

  async #borrow(index: number): Promise<Taken | null> {
    const { engine, store, room } = this.#deps;
    const { key, head } = this.#addresses.segment(index);
    this.#job.check();
    const isNew = index >= this.#letGo.length; // else it counts as shared already
    if (isNew) this.#holding.shared++;
    const taken = await room.shelf.take(key, () => store.get(key, head, (bytes) => engine.allocate(bytes)));
    if (isNew && taken === null) this.#holding.shared--;
    this.#deps.pulse.beat();
    return taken;
  }

  /** Worth having only if it saves some of the replay: the latest first. */
  async #bestBoundary(end: number, tokens: number, endings: readonly number[]): Promise<Found["boundary"]> {
    const low = Math.max(0, end - this.#deps.engine.info.replayTokens);
    const high = Math.min(tokens, end + this.segmentTokens - 1);
    const every = this.#deps.boundaryTokens;
    const left = lastProgress(this.#job.history);
    for (const position of boundaryPlaces(this.#ids, { low, high, every, endings, left })) {
      this.#job.check();
      const { key, head } = this.#addresses.boundary(position);
      const memory = await this.#deps.store.get(key, head, heapMemory);
      this.#deps.pulse.beat();
      if (memory !== null) return { position, bytes: memory.bytes };
    }
    return null;
  }
}
