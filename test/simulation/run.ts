import { seededRandom } from "../../services/shared/runtime/random.ts";
import type { Alone } from "../support/alone.ts";
import { Dice } from "../support/dice.ts";
import { type Bug, noBug } from "./bug.ts";
import { Customer, type Order, orderOf, ordersOf } from "./customer.ts";
import { Fleet } from "./fleet.ts";
import { Replicas } from "./replica.ts";
import { Trace } from "./trace.ts";
import { expectedOf, inspect } from "./verdict.ts";
import { weatherOf } from "./weather.ts";
import { World } from "./world.ts";

/**
 * In calm weather every job ends within this, plus what its prompt takes with the slowest chunks; then every message is
 * gone within this.
 */
const CALM_MS = 200_000;
const TOKEN_MS = 20;

export interface Outcome {
  readonly seed: number;
  /** What happened and must not. */
  readonly faults: readonly string[];
  /** Equal for equal runs, event for event. */
  readonly hash: string;
  readonly trace: readonly string[];
}

/** One run of the cluster, all of it drawn from `seed`. */
export async function simulate(
  seed: number,
  { bug = noBug, keepTrace = false }: { bug?: Bug; keepTrace?: boolean } = {},
): Promise<Outcome> {
  const dice = new Dice(seededRandom(seed));
  const trace = new Trace(keepTrace);
  const weather = weatherOf(dice.fork());
  const orders = ordersOf(dice.fork(), weather.stormMs);
  const expected = await Promise.all(orders.map(expectedOf));
  const world = new World(dice, weather, trace, bug);
  const dropped = (reason: unknown) => world.judge.fault(`a promise was dropped that rejects: ${reason}`);
  process.on("unhandledRejection", dropped);
  await world.clock.run(course(world, orders, expected)).catch((error: Error) => world.judge.fault(error.stack ?? error.message));
  await new Promise(setImmediate); // by then dropped promises are known
  process.off("unhandledRejection", dropped);
  return { seed, faults: world.judge.faults, hash: trace.hash, trace: trace.lines };
}

/** A storm, then calm, then the end of all processes; at last the jobs are judged. */
async function course(world: World, orders: readonly Order[], expected: readonly Alone[]): Promise<void> {
  const { clock, judge, weather } = world;
  const fleet = new Fleet(world);
  const replicas = new Replicas(world);
  const customers = orders.map((order) => new Customer(world, replicas, order));
  const lives = Promise.all(customers.map((customer) => customer.live()));
  lives.catch(() => {}); // seen below
  strew(world, customers);
  await Promise.race([clock.sleep(weather.stormMs), lives]);
  world.calm();
  fleet.thaw();
  replicas.thaw();
  const computedMs = TOKEN_MS * orders.reduce((sum, { ids }) => sum + ids.length, 0);
  if (
    !(await inTime(
      world,
      lives.then(() => ended(world)),
      computedMs,
    ))
  )
    judge.fault("somebody still waits long after the storm");
  else if (!(await inTime(world, emptied(world)))) judge.fault("messages of ended jobs stay in the queue");
  if (!(await inTime(world, fleet.close()))) judge.fault("workers that were told to stop do not");
  for (const jobId of judge.jobs()) {
    const i = orders.findIndex(({ key }) => key === orderOf(judge.log(jobId)));
    inspect(world, fleet, jobId, customers[i]!, expected[i]!);
  }
}

/** Waits for every job in the record, also one whose customer does not know of it or was told that there is no room. */
async function ended({ judge }: World): Promise<void> {
  await Promise.all(judge.jobs().map((jobId) => judge.ended(jobId)));
}

/** Publishes messages that no job needs. */
function strew({ clock, dice, queue, weather }: World, customers: readonly Customer[]): void {
  for (let n = weather.strayMessages; n > 0; n--) {
    clock.after(dice.upTo(weather.stormMs), () => {
      const { jobId, order } = dice.pick(customers);
      const phase = dice.pick(["prefill", "decode"] as const);
      if (jobId === null) return;
      queue.publish(phase, order.request.model, order.request.lane, { jobId, promptTokens: order.ids.length }).catch(() => {}); // it is full
    });
  }
}

async function emptied({ clock, queue }: World): Promise<void> {
  while ((await queue.messages("prefill")).length + (await queue.messages("decode")).length > 0) await clock.sleep(500);
}

async function inTime({ clock }: World, work: Promise<unknown>, moreMs = 0): Promise<boolean> {
  const gone = new AbortController();
  const late = clock.sleep(CALM_MS + moreMs, gone.signal).then(() => false);
  const inTime = await Promise.race([work.then(() => true), late]);
  gone.abort();
  late.catch(() => {});
  return inTime;
}
