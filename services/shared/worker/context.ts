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

/** Segments fetched at once for one job: enough to keep the store busy while others are checked. */
export const LOADS_MAX = 32;
/** Most tenants whose key spaces are kept, so that each is hashed once. */
const SPACES_MAX = 1_024;

interface ContextDeps extends KeepingDeps {
  readonly engine: Engine;
  readonly room: KvRoom;
  readonly boundaryTokens: number;
  /** Beats when a value arrives: proof to every job that waits for the store that the store answers. */
  readonly pulse: Pulse;
}

/**
 * Makes the contexts of one worker's jobs, which share its room. A context holds the prompt and all logged tokens but
 * the last, which the next step feeds, and has room for `moreMax` more ids.
 */
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
  /** Segments 0, 1, 2, ... without a gap, on loan from the shelf until `release`. */
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
  /** Each releases a segment that another job had loaded when this one entered. */
  #letGo: (() => void)[] = [];
  #loans: readonly Taken[] = [];

  /** `fed`: ids after the prompt. There is room for `moreMax` more. Every value fetched keeps the job's claim. */
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

  /**
   * Takes room for a sequence of `tokens` tokens before any of it is loaded, and begins the job's turn. Segments of it
   * that other jobs have loaded stay on the shelf. Throws Interrupted: crowded if there is no room, or what interrupted
   * the job.
   */
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

  /**
   * The best start within the first `tokens` tokens, of which the store has `stored` leading segments. `endings`: ids
   * that end an answer, where earlier jobs left a boundary. Throws what interrupted the job, or Interrupted (crowded).
   */
  async find(tokens: number, stored: number, endings: readonly number[]): Promise<Found> {
    const count = Math.max(stored, Math.min(this.#letGo.length, Math.floor(tokens / this.segmentTokens))); // the shelf may hold what the store forgot
    const behind = (segments: number) => this.#bestBoundary(segments * this.segmentTokens, tokens, endings);
    let ahead = null as ReturnType<typeof behind> | null;
    const segments = await loadLeading(count, LOADS_MAX, (index) => {
      const loan = this.#borrow(index);
      if (index === count - 1) {
        ahead = behind(count); // alongside the last segments
        ahead.catch(() => {}); // it may reject before it is awaited
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

  /** Stores a segment in the background. Takes ownership of the payload. */
  keep(sealed: Sealed): void {
    this.#keeping.segment(sealed);
  }

  /** Stores the boundary at `position` in the background. */
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

  /**
   * Returns what was on loan, releases what the store refused, and leaves the room. Called once settled. Idempotent.
   */
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
    const isNew = index >= this.#letGo.length; // else it already counts as shared
    if (isNew) this.#holding.shared++;
    const taken = await room.shelf.take(key, () => store.get(key, head, (bytes) => engine.allocate(bytes)));
    if (isNew && taken === null) this.#holding.shared--;
    this.#deps.pulse.beat();
    return taken;
  }

  /** The latest stored boundary that saves part of the replay; null if there is none. */
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
