import { setTimeout as sleep } from "node:timers/promises";
import { type Random, seededRandom } from "../../services/shared/runtime/random.ts";
import type { ChaosCluster } from "./cluster.ts";
import type { Replica } from "./replica.ts";

/** What may happen to a part of the cluster. It is whole again, or being started again, when `happen` resolves. */
interface Disturbance {
  readonly kind: string;
  readonly target: string;
  happen(random: Random): Promise<unknown>;
}

const between = (random: Random, low: number, high: number) => low + (random.u32() % (high - low));

/** Everything that can happen, as often as its weight says. */
function deck(cluster: ChaosCluster): readonly Disturbance[] {
  const { nats, redis, replicas, bus } = cluster;
  const all: Disturbance[] = [];
  const add = (weight: number, kind: string, target: string, happen: Disturbance["happen"]) =>
    all.push(...Array.from({ length: weight }, () => ({ kind, target, happen })));
  for (const replica of replicas) {
    add(8, "kill -9", replica.name, () => replica.end("SIGKILL"));
    add(3, "SIGTERM", replica.name, () => replica.end("SIGTERM"));
    add(3, "SIGSTOP", replica.name, (random) => replica.freeze(between(random, 200, 6_000)));
    for (const store of ["nats", "redis"] as const) addNetwork(add, replica, store);
  }
  const restartNats = (signal: "SIGKILL" | "SIGTERM") => async (random: Random) => {
    await nats.kill(signal);
    await sleep(between(random, 0, 1_500));
    await nats.restart();
  };
  add(4, "kill -9", "nats", restartNats("SIGKILL"));
  add(3, "restart", "nats", restartNats("SIGTERM"));
  add(3, "SIGSTOP", "nats", async (random) => {
    await nats.freeze();
    await sleep(between(random, 200, 4_000));
    nats.thaw();
  });
  add(3, "messages lost", "nats", async () => {
    for (const phase of ["prefill", "decode"] as const)
      for (const { jobId } of await bus.queue.messages(phase)) await bus.queue.withdraw(phase, jobId);
  });
  add(5, "FLUSHALL", "redis", () => redis.flush());
  add(5, "kill -9", "redis", () => redis.restart());
  add(3, "SIGSTOP", "redis", async (random) => {
    await redis.pause();
    await sleep(between(random, 200, 4_000));
    redis.resume();
  });
  return all;
}

type Add = (weight: number, kind: string, target: string, happen: Disturbance["happen"]) => void;

function addNetwork(add: Add, { name, links }: Replica, store: "nats" | "redis"): void {
  const link = links[store];
  const target = `${name}=${store}`;
  add(1, "cut", target, async () => link.cut());
  add(1, "partition", target, async (random) => {
    link.hold();
    await sleep(between(random, 500, 6_000));
    link.release();
  });
  add(1, "delay", target, async (random) => {
    link.delayMs = between(random, 5, 150);
    await sleep(between(random, 1_000, 5_000));
    link.delayMs = 0;
  });
}

export interface Disturbed {
  readonly kind: string;
  readonly target: string;
  /** Wall clock. */
  readonly fromMs: number;
  /** When the part was whole again; null while it is not. */
  toMs: number | null;
}

interface Aftermath {
  readonly disturbed: readonly Disturbed[];
  readonly unhealed: readonly string[];
}

export interface Storm {
  readonly seed: number;
  /** Between two disturbances, on average. */
  readonly everyMs: number;
  /** Disturbances whose kind and target match: `kill -9 nats`. */
  readonly only: RegExp;
}

/**
 * Disturbances before the first answer, and for each answer: on a machine that is slow or busy with others, a job meets
 * no worse storm than on a fast one.
 */
const UNANSWERED_MAX = 20;
const PER_ANSWER = 0.6;

/**
 * One disturbance after the other, at random moments, until `stop` aborts; they may overlap, but no part suffers two at
 * once. Seed and number of a disturbance decide what it is. The storm pauses while there are few `answers` so far for
 * the disturbances so far. Resolves, once all is whole again, to what happened and what did not heal.
 */
export async function disturb(
  cluster: ChaosCluster,
  { seed, everyMs, only }: Storm,
  answers: () => number,
  stop: AbortSignal,
): Promise<Aftermath> {
  const cards = deck(cluster).filter(({ kind, target }) => only.test(`${kind} ${target}`));
  const busy = new Map<string, Promise<unknown>>();
  const disturbed: Disturbed[] = [];
  const unhealed: string[] = [];
  for (let number = 0; ; number++) {
    const random = seededRandom(seed ^ Math.imul(number + 1, 0x9e3779b1));
    const pause = (ms: number) => sleep(ms, undefined, { signal: stop }).catch(() => {});
    await pause(between(random, 0, 2 * everyMs));
    while (!stop.aborted && disturbed.length >= UNANSWERED_MAX + PER_ANSWER * answers()) await pause(100);
    if (stop.aborted) break;
    const card = cards[random.u32() % cards.length]!;
    if (busy.has(card.target)) continue;
    const one: Disturbed = { kind: card.kind, target: card.target, fromMs: Date.now(), toMs: null };
    disturbed.push(one);
    const healed = card.happen(random).catch((error: unknown) => unhealed.push(`${card.kind} ${card.target}: ${String(error)}`));
    const over = healed.finally(() => {
      one.toMs = Date.now();
      busy.delete(card.target);
    });
    busy.set(card.target, over);
  }
  await Promise.all(busy.values());
  return { disturbed, unhealed };
}
