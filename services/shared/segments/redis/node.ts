import type { Random } from "../../runtime/random.ts";
import { Gate } from "../gate.ts";
import type { Sums } from "../sums.ts";
import { RedisBulk } from "./bulk.ts";
import { RedisControl } from "./control.ts";
import type { RedisFailure } from "./failure.ts";
import type { Trip } from "./redirection.ts";
import { nameOf, type RedisTarget } from "./target.ts";

export interface NodeOptions {
  /** Connections that move values, besides one for everything else. */
  readonly connections: number;
  readonly timeoutMs: number;
  readonly random: Random;
  readonly sums: Sums;
}

/** The most values that wait to be moved: those of two prompts of a million tokens. */
const WAITING_MAX = 4_096;

type SendOnFrom = <T>(from: RedisNode, failure: RedisFailure, trip: Trip, again: (node: RedisNode, trip: Trip) => Promise<T>) => Promise<T>;

/** One server as the store uses it: the only one, or a master of a cluster. */
export class RedisNode {
  readonly name: string;
  readonly target: RedisTarget;
  readonly bulk: RedisBulk;
  readonly control: RedisControl;
  /** Values being moved: enough to keep all connections busy, few enough to bound the memory they take half-filled. */
  readonly moving: Gate;

  constructor(target: RedisTarget, options: NodeOptions, sendOn: SendOnFrom) {
    this.name = nameOf(target);
    this.target = target;
    this.bulk = new RedisBulk(target, {
      ...options,
      sendOn: (failure, trip, again) => sendOn(this, failure, trip, (node, next) => again(node.bulk, next)),
    });
    this.control = new RedisControl(target, options.timeoutMs, (failure, trip, again) =>
      sendOn(this, failure, trip, (node, next) => again(node.control, next)),
    );
    this.moving = new Gate(() => this.bulk.underWayMax, WAITING_MAX);
  }

  /**
   * Closes once every value that is being moved here is done, pieces that are sent on to other nodes included. No value
   * may be started any more.
   */
  async retire(): Promise<void> {
    await this.moving.empty();
    await Promise.all([this.control.retire(), this.bulk.retire()]);
  }

  async close(): Promise<void> {
    this.control.close();
    await this.bulk.close();
  }
}
