import type { Clock } from "../../runtime/clock.ts";
import type { Logger } from "../../runtime/log.ts";
import type { FailureReason } from "../tally.ts";
import { RedisControl } from "./control.ts";
import { RedisFailure } from "./failure.ts";
import { type NodeOptions, RedisNode } from "./node.ts";
import { nowhere, type Redirection, redirectionOf, type Trip } from "./redirection.ts";
import { MASTERS_MAX, type SlotRange, slotMapOf } from "./slot-map.ts";
import { SLOTS, slotOf } from "./slots.ts";
import { atNode, nameOf, type RedisTarget } from "./target.ts";

interface ServersOptions extends NodeOptions {
  readonly clock: Clock;
  readonly log: Logger;
  /** A server is no longer used: it left the cluster, or its slots moved. */
  readonly onLeft: (name: string) => void;
  /** There is a map, and every slot has a master. */
  readonly onWhole: () => void;
}

/**
 * The most times one command is sent on: to the new master of a slot, from there to where the slot is moving, and twice
 * while masters change.
 */
const HOPS_MAX = 4;
/** The least time between two searches for the map. */
const LEARN_MS_MIN = 1_000;
/** Time before the next node is asked for the map as well: a frozen node costs this, and not its deadline. */
const ALONE_MS = 200;
/** Errors after which a slot may have moved to another master. */
const LOST: ReadonlySet<FailureReason> = new Set(["away", "deadline", "readonly", "unserved"]);

/**
 * The servers that hold the values: a single one, at no extra cost, or the masters of a cluster. Which of the two is not
 * asked: the first MOVED shows a cluster, and so do several servers in the setting. From then on each key goes to the
 * master of its slot. The map of slots is learned again, from the first node that answers with one, when a master sends
 * a command on or is lost.
 */
export class RedisServers {
  readonly #seeds: readonly RedisTarget[];
  readonly #options: ServersOptions;
  readonly #nodes = new Map<string, RedisNode>();
  /** Nodes without slots, until the exchanges under way there have ended. */
  readonly #leaving = new Set<RedisNode>();
  /** Nodes that ASK has sent commands to since the last map: they may have no slots yet. */
  readonly #aside = new Set<RedisNode>();
  /** Asked for every key while there is no map, and for keys of slots that the map lacks. */
  #home: RedisNode;
  /** Each slot's master; null while this is one server as far as we know. */
  #slots: (RedisNode | undefined)[] | null = null;
  /** Connections on which the map is being asked for. */
  readonly #asking = new Set<RedisControl>();
  #learning: Promise<Error | null> | null = null;
  #nextLearnMs = Number.NEGATIVE_INFINITY;
  #learned = 0;
  #isTroubleTold = false;
  #isClosed = false;

  constructor(seeds: readonly [RedisTarget, ...RedisTarget[]], options: ServersOptions) {
    this.#seeds = seeds;
    this.#options = options;
    this.#home = this.#node(seeds[0]);
    if (seeds.length > 1) void this.#learn(null);
  }

  /** The key's server, as far as we know. Use it, or enter its gate, at once: it may leave. */
  of(key: string): RedisNode {
    return this.#slots === null ? this.#home : (this.#slots[slotOf(key)] ?? this.#unserved());
  }

  /** To be called for every failure, with the server where it happened. */
  failed(server: string, { reason }: RedisFailure): void {
    if ((this.#slots !== null || this.#seeds.length > 1) && LOST.has(reason)) void this.#learn(server);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#askNoMore();
    await Promise.all([this.#learning, ...[...this.#nodes.values(), ...this.#leaving].map((node) => node.close())]);
  }

  #unserved(): RedisNode {
    void this.#learn(null);
    return this.#home;
  }

  async #sendOn<T>(from: RedisNode, failure: RedisFailure, { hops }: Trip, again: (node: RedisNode, trip: Trip) => Promise<T>): Promise<T> {
    const to = redirectionOf(failure.message);
    if (to === null || hops === HOPS_MAX || this.#isClosed) throw failure;
    const node = this.#named(to, from);
    return again(node, { hops: hops + 1, asking: to.once }).catch((error: RedisFailure) => Promise.reject(error.behind(node.name)));
  }

  #named({ host, port, slot, once }: Redirection, from: RedisNode): RedisNode {
    const target = atNode(from.target, host, port);
    if (this.#nodes.size >= MASTERS_MAX && !this.#nodes.has(nameOf(target)))
      throw new RedisFailure("protocol", `more than ${MASTERS_MAX} masters are named, the last ${nameOf(target)}`);
    const node = this.#node(target);
    if (once) this.#aside.add(node);
    else {
      if (this.#slots !== null) this.#slots[slot] = node;
      void this.#learn(null);
    }
    return node;
  }

  #node(target: RedisTarget): RedisNode {
    const known = this.#nodes.get(nameOf(target));
    if (known !== undefined) return known;
    const node = new RedisNode(target, this.#options, (...trip) => this.#sendOn(...trip));
    this.#nodes.set(node.name, node);
    return node;
  }

  /** Learns the map of slots; `suspect` is asked last. */
  async #learn(suspect: string | null): Promise<void> {
    const { clock, log } = this.#options;
    if (this.#learning !== null || this.#isClosed || clock.monotonicMs() < this.#nextLearnMs) return;
    let failure: Error | null = null;
    try {
      this.#learning = this.#learnFromAny(suspect);
      failure = await this.#learning;
    } finally {
      this.#learning = null;
      this.#nextLearnMs = clock.monotonicMs() + LEARN_MS_MIN;
    }
    if (failure !== null && !this.#isTroubleTold)
      log.warn({ detail: failure.message }, "no node of the Redis Cluster answers with a map of its slots");
    this.#isTroubleTold = failure !== null;
  }

  /**
   * Asks one node after the other: the next when the one before failed, or after ALONE_MS. Null once one answered with a
   * map, or after `close`; else why the last did not.
   */
  #learnFromAny(suspect: string | null): Promise<Error | null> {
    const others = [...this.#candidates(suspect)];
    return new Promise((resolve) => {
      const askNext = () => {
        const target = others.shift();
        if (target === undefined || this.#isClosed) return; // the one asked before ends this
        const unwait = this.#options.clock.after(ALONE_MS, askNext);
        void this.#learnFrom(target).then((failure) => {
          unwait();
          if (failure !== null && !this.#isClosed && others.length > 0) return askNext();
          if (failure !== null && this.#asking.size > 0) return; // one of those may still answer
          others.length = 0;
          this.#askNoMore();
          resolve(this.#isClosed ? null : failure);
        });
      };
      askNext();
    });
  }

  #askNoMore(): void {
    for (const control of this.#asking) control.close();
    this.#asking.clear();
  }

  /** Every master, beginning with another one each time, then the servers of the setting; the suspect last. */
  #candidates(suspect: string | null): readonly RedisTarget[] {
    const nodes = [...this.#nodes.values()].map(({ target }) => target);
    const first = this.#learned++ % nodes.length;
    const inTurn = [...nodes.slice(first), ...nodes.slice(0, first), ...this.#seeds];
    const byName = new Map(inTurn.map((target) => [nameOf(target), target]));
    const isSuspect = (target: RedisTarget) => Number(nameOf(target) === suspect);
    return [...byName.values()].sort((one, other) => isSuspect(one) - isSuspect(other));
  }

  /** Null once the map is known. Never rejects, whatever the answer leads to: nothing awaits it. */
  async #learnFrom(target: RedisTarget): Promise<Error | null> {
    const control = new RedisControl(target, this.#options.timeoutMs, nowhere);
    this.#asking.add(control);
    try {
      const map = await this.#mapAt(control, target);
      if (!this.#asking.has(control)) return null; // another answered first
      if (map === null) this.#settle(this.#node(target), null);
      else this.#follow(map);
      return null;
    } catch (error) {
      return error as Error;
    } finally {
      control.close();
      this.#asking.delete(control);
    }
  }

  /** Null if a server of the setting is not in a cluster. */
  async #mapAt(control: RedisControl, target: RedisTarget): Promise<readonly SlotRange[] | null> {
    try {
      return slotMapOf(await control.run((redis) => redis.cluster("SLOTS")), target);
    } catch (error) {
      if ((error as Error).message.includes("cluster support disabled") && this.#seeds.includes(target)) return null;
      throw error;
    }
  }

  #follow(ranges: readonly SlotRange[]): void {
    const slots: (RedisNode | undefined)[] = new Array(SLOTS).fill(undefined);
    for (const { first, last, master } of ranges) slots.fill(this.#node(master), first, last + 1);
    this.#settle(this.#node(ranges[0]!.master), slots);
    if (!slots.includes(undefined)) this.#options.onWhole();
  }

  #settle(home: RedisNode, slots: (RedisNode | undefined)[] | null): void {
    this.#home = home;
    this.#slots = slots;
    const kept = new Set<RedisNode | undefined>([home, ...(slots ?? []), ...this.#aside]);
    this.#aside.clear();
    for (const node of [...this.#nodes.values()].filter((node) => !kept.has(node))) {
      this.#nodes.delete(node.name);
      this.#leaving.add(node);
      void node.retire().then(() => this.#leaving.delete(node));
      this.#options.onLeft(node.name);
    }
  }
}
