import type { Dice } from "../support/dice.ts";
import type { Roughness } from "../support/road.ts";

/** What may become of a process. */
export type Fate = "kill" | "freeze" | "drain";

/** Trouble for all processes: `record` or `store` is away, or the store is `erased`. */
export interface Outage {
  readonly what: "record" | "store" | "erased";
  readonly atMs: number;
  readonly forMs: number;
}

/** Everything that goes wrong in one run, and how often. After `stormMs` nothing does any more. */
export interface Weather {
  readonly stormMs: number;
  readonly record: Roughness;
  readonly store: Roughness;
  /** Of 100 calls of the store, how many forget a value, do not take one, or count wrong. */
  readonly forgetful: number;
  /** Probability that a stored value is damaged. */
  readonly damaged: number;
  readonly outages: readonly Outage[];
  /** Ends of processes, all equally likely. Empty: all live. */
  readonly fates: readonly Fate[];
  /** A fate comes after at most this many awaits. */
  readonly fateAwaits: number;
  readonly freezeMs: number;
  /** Wall clocks are wrong by up to this much. */
  readonly skewMs: number;
  /** Probability that a call of an engine fails, or one sequence of a step. */
  readonly engineFailures: number;
  /** Probability that a chunk or step stalls, and for how long at most. */
  readonly engineStalls: number;
  readonly engineStallMs: number;
  /** Probability that a call of a grammar's thread fails, or finds that it was restarted. */
  readonly grammarFailures: number;
  /** Every worker is of one of so many releases, which share no stored value. */
  readonly releases: number;
  /**
   * Messages that a lane of the queue may hold, and jobs that are admitted. If both phases were full of jobs that wait
   * for room in the other, none would move.
   */
  readonly messagesMax: number;
  /** A tenant's work beyond so much of the workers' time waits behind that of others. */
  readonly shareMs: number;
  /** The record's wall clock is set by so much. */
  readonly clockSet: { readonly atMs: number; readonly byMs: number } | null;
  /** Probability that a message is lost after the queue took it. */
  readonly lostInQueue: number;
  /** Probability that the queue takes a message but gives it to no worker until it is renewed. */
  readonly keptFromAll: number;
  /** Needless messages, as a reconciler or a crash leaves them. */
  readonly strayMessages: number;
}

/** Each kind of trouble is absent in about half of the runs, so that no trouble hides another. */
export function weatherOf(dice: Dice): Weather {
  const maybe = (probability: number): number => (dice.chance(0.5) ? dice.upTo(probability) : 0);
  const stormMs = dice.size(3_000, 60_000);
  const roughness = (lost: number, patienceMs: number, answerMs: number): Roughness => ({
    delayMs: dice.size(1, 200),
    lostRequests: maybe(lost),
    lostAnswers: maybe(lost),
    lostMessages: maybe(0.5),
    doubledMessages: maybe(0.3),
    patienceMs,
    answerMs,
  });
  return {
    stormMs,
    record: roughness(0.08, 2_000, dice.pick([0, 5_000])),
    store: roughness(0.1, 500, 0),
    forgetful: Math.floor(maybe(30)),
    damaged: maybe(0.3),
    outages: Array.from({ length: dice.whole(0, 3) }, () => outageOf(dice, stormMs)),
    fates: (["kill", "freeze", "drain"] as const).filter(() => dice.chance(0.5)),
    fateAwaits: dice.size(50, 4_000),
    freezeMs: dice.size(500, 20_000),
    skewMs: maybe(300_000),
    engineFailures: maybe(0.02),
    engineStalls: maybe(0.02),
    engineStallMs: dice.size(500, 15_000),
    grammarFailures: maybe(0.1),
    releases: dice.chance(0.3) ? 2 : 1,
    messagesMax: dice.chance(0.2) ? dice.whole(3, 4) : 10_000,
    shareMs: dice.pick([1, 1_000, 10_000]),
    clockSet: dice.chance(0.2) ? { atMs: dice.upTo(stormMs), byMs: dice.whole(-600_000, 600_000) } : null,
    lostInQueue: maybe(0.3),
    keptFromAll: maybe(0.2),
    strayMessages: dice.chance(0.5) ? dice.whole(1, 10) : 0,
  };
}

function outageOf(dice: Dice, stormMs: number): Outage {
  return { what: dice.pick(["record", "store", "erased"]), atMs: dice.upTo(stormMs), forMs: dice.size(100, 15_000) };
}
