import { expect, test } from "vitest";
import type { Claim, JobLog } from "../../../../services/shared/bus/contract.ts";
import { isTerminal, type JobEvent, type LogRecord, type Phase } from "../../../../services/shared/bus/events.ts";
import { FencedLog } from "../../../../services/shared/bus/log.ts";
import { MemoryJournal } from "../../../../services/shared/bus/memory/journal.ts";
import type { Clock } from "../../../../services/shared/runtime/clock.ts";
import { isUnavailable } from "../../../../services/shared/runtime/errors.ts";
import { type Random, seededRandom } from "../../../../services/shared/runtime/random.ts";
import { collect, faultsOf, finished, handedOver, held, never, progress, request, tokens } from "../../../support/bus.ts";
import { Dice } from "../../../support/dice.ts";
import { overriding } from "../../../support/overriding.ts";
import { Road } from "../../../support/road.ts";
import { RoughJournal } from "../../../support/rough-journal.ts";
import { VirtualClock } from "../../../support/virtual-clock.ts";

const CLAIM_MS = 1_000;
const rules = { claimMs: CLAIM_MS, attemptsMax: 1_000, answerMs: 5_000, appendMs: 20_000 };
const badDay = { delayMs: 50, lostRequests: 0.1, lostAnswers: 0.12, lostMessages: 0.3, doubledMessages: 0.1, patienceMs: 60, answerMs: 0 };
const seeds = process.env.SEED === undefined ? Array.from({ length: 60 }, (_, i) => i + 1) : [Number(process.env.SEED)];

/** One worker's day: claims what it can, works, pauses for longer than a claim lives, dies and comes back. Collects what it was told is stored. */
async function work(log: JobLog, clock: Clock, random: Random, name: string, told: LogRecord[]): Promise<void> {
  let hint: LogRecord[] = [];
  for (;;) {
    const last = await unlessAway(() => log.last("job"));
    if (last !== null && isTerminal(last.event)) return;
    const phase: Phase = last?.phase ?? "prefill";
    if (random.u32() % 3 === 0) hint = (await unlessAway(() => log.read("job"))) ?? [];
    const result = await unlessAway(() => log.claim("job", phase, name, hint));
    if (result !== null && (result.kind === "claimed" || result.kind === "exhausted")) await serve(result.claim, clock, random, told);
    await clock.sleep(random.u32() % CLAIM_MS);
  }
}

async function serve(claim: Claim, clock: Clock, random: Random, told: LogRecord[]): Promise<void> {
  for (;;) {
    const dice = random.u32() % 100;
    if (dice < 4) return; // dies
    if (dice < 8) await clock.sleep(2 * CLAIM_MS); // freezes
    const record = await claim.append(nextEvent(claim, dice));
    if (record === null) return;
    told.push(record);
    if (record.event.type === "released" || record.phase !== claim.phase || isTerminal(record.event)) return;
  }
}

function nextEvent(claim: Claim, dice: number): JobEvent {
  if (dice > 92) return { type: "released", reason: "overtaken" };
  if (claim.phase === "prefill") return dice > 70 ? handedOver : progress(dice % 2);
  if (dice > 88) return { type: "sent_back", reason: "segment gone" };
  return claim.tokenCount > 40 ? finished : tokens(claim.tokenCount, ...Array.from({ length: 1 + (dice % 3) }, (_, i) => i));
}

async function unlessAway<T>(ask: () => Promise<T>): Promise<T | null> {
  try {
    return await ask();
  } catch (thrown) {
    if (isUnavailable(thrown)) return null;
    throw thrown;
  }
}

test.each(seeds)(
  "whatever workers and network do, the log has one end, each token once, and readers see just that (SEED=%d)",
  async (seed) => {
    const random = seededRandom(seed);
    const clock = new VirtualClock();
    const journal = new MemoryJournal({ bytesMax: 1e9, ageMsMax: 1e12, dedupeMs: seed % 2 === 0 ? 200 : 60_000 }, clock);
    const road = new Road(clock, new Dice(random), () => badDay);
    const log = new FencedLog(new RoughJournal(journal, road), rules, clock, random, never);
    const told: LogRecord[] = [];
    const { complete, followed } = await clock.run(
      (async () => {
        let submitted: LogRecord | null = null;
        while (submitted === null) submitted = await unlessAway(() => log.submit("job", request()));
        const following = [0, 1].map((after) => collect(log.follow("job", after, never)));
        following.push(collect(log.follow("job", 0, never, [submitted])));
        await Promise.all([1, 2, 3].map((worker) => work(log, clock, random, `w${worker}`, told)));
        const complete = await unlessAway(() => log.read("job"));
        return { complete, followed: await Promise.all(following) };
      })(),
    );

    const records = await new FencedLog(journal, rules, clock, random, never).read("job");
    expect(faultsOf(records)).toEqual([]);
    expect(records.filter(({ event }) => isTerminal(event))).toEqual([records.at(-1)]);
    expect(followed).toEqual([records, records.slice(1), records]);
    if (complete !== null) expect(complete).toEqual(records);
    for (const record of told) expect(records).toContainEqual(record);
  },
);

test("a reader who knows how a log begins asks for nothing while it hears the rest", async () => {
  const clock = new VirtualClock();
  const journal = new MemoryJournal({ bytesMax: 1e9, ageMsMax: 1e12, dedupeMs: 60_000 }, clock);
  const asked: string[] = [];
  const watched = overriding(journal, {
    glance: async (jobId) => {
      asked.push(jobId);
      return journal.glance(jobId);
    },
  });
  const log = new FencedLog(watched, rules, clock, seededRandom(1), never);
  const submitted = await log.submit("job", request());
  const [knows, asks] = [[submitted], []].map((begun) => collect(log.follow("job", 0, never, begun)));
  const claim = held(await log.claim("job", "prefill", "w", [submitted]));
  await claim.append({ type: "failed", code: "INTERNAL", message: "" });
  expect(await clock.run(Promise.all([knows, asks]))).toEqual([await log.read("job"), await log.read("job")]);
  expect(asked).toEqual(["job"]);
});

test("a reader who left before he began to follow is told nothing and waits for nothing, even if he knows how the log begins", async () => {
  const clock = new VirtualClock();
  const journal = new MemoryJournal({ bytesMax: 1e9, ageMsMax: 1e12, dedupeMs: 60_000 }, clock);
  const log = new FencedLog(journal, rules, clock, seededRandom(1), never);
  const begun = [await log.submit("job", request())];
  expect(await collect(log.follow("job", 0, AbortSignal.abort(), begun))).toEqual([]); // nobody moves the clock
});

test("a job that ends while whoever takes it over still reads its log is not claimed behind its end", async () => {
  const clock = new VirtualClock();
  const journal = new MemoryJournal({ bytesMax: 1e9, ageMsMax: 1e12, dedupeMs: 60_000 }, clock);
  let before = async () => {};
  const watched = overriding(journal, {
    page: async (...args) => {
      await before();
      return journal.page(...args);
    },
  });
  const log = new FencedLog(watched, rules, clock, seededRandom(1), never);
  await log.submit("job", request());
  const first = held(await log.claim("job", "prefill", "first"));
  for (let i = 0; i < 4; i++) await first.append(progress(1)); // more than are read one by one
  await clock.run(clock.sleep(2 * CLAIM_MS));
  before = async () => {
    before = async () => {};
    await first.append({ type: "cancelled", by: "client" });
  };
  expect(await log.claim("job", "prefill", "second")).toEqual({ kind: "held" });
  expect((await log.last("job"))?.event.type).toBe("cancelled");
});

/** A log over a journal in memory, some of whose methods are replaced. */
function logOver(methods: (journal: MemoryJournal) => Partial<MemoryJournal> = () => ({})) {
  const clock = new VirtualClock();
  const journal = new MemoryJournal({ bytesMax: 1e9, ageMsMax: 1e12, dedupeMs: 60_000 }, clock);
  const log = new FencedLog(overriding(journal, methods(journal)), { ...rules, attemptsMax: 2 }, clock, seededRandom(1), never);
  return { clock, journal, log };
}

test("of a job that is deleted while its log is read what was there is read, and nobody waits for the rest", async () => {
  const { clock, log } = logOver((journal) => ({ page: () => journal.purge("job").then(() => []) }));
  await log.submit("job", request());
  await held(await log.claim("job", "prefill", "w", [(await log.last("job"))!])).append(progress(1));
  const beganMs = clock.monotonicMs();
  expect((await clock.run(log.read("job"))).length).toBeLessThan(3);
  expect(clock.monotonicMs() - beganMs).toBeLessThan(rules.answerMs / 2);
});

test("the times of a log of any length are told", async () => {
  const { log } = logOver();
  const submitted = await log.submit("job", request());
  const claim = held(await log.claim("job", "prefill", "w", [submitted]));
  for (let i = 0; i < 1_100; i++) await claim.append(progress(1));
  expect((await log.storedTimes("job")).size).toBe(1_102);
});

test("a hint of a job whose attempts are used up is no claim to work on it", async () => {
  const { log } = logOver();
  await log.submit("job", request());
  for (let attempt = 0; attempt < 2; attempt++) await held(await log.claim("job", "prefill", "w")).append({ type: "released", reason: "" });
  expect((await log.claim("job", "prefill", "w", await log.read("job"))).kind).toBe("exhausted");
});

test("a reader to whom nobody tells anything looks at the log after 1 and 2 seconds, and then every 4", async () => {
  const looks: number[] = [];
  const { clock, log } = logOver((journal) => ({
    glance: (jobId) => {
      looks.push(Math.round(clock.monotonicMs() / 1_000));
      return journal.glance(jobId);
    },
    announce: () => {},
  }));
  await log.submit("job", request());
  const left = new AbortController();
  const following = collect(log.follow("job", 0, left.signal));
  await clock.run(clock.sleep(20_000));
  left.abort();
  expect((await following).map(({ event }) => event.type)).toEqual(["submitted"]);
  expect(looks).toEqual([0, 1, 3, 7, 11, 15, 19]);
});

test("a replica that lags so far that it does not know the job does not end what is read of it", async () => {
  let lags = false;
  const { clock, log } = logOver((journal) => ({ glance: async (jobId) => (lags ? null : journal.glance(jobId)), announce: () => {} }));
  const submitted = await log.submit("job", request());
  const following = collect(log.follow("job", 0, never));
  await clock.run(clock.sleep(1_500));
  lags = true;
  const claim = held(await log.claim("job", "prefill", "w", [submitted]));
  await claim.append({ type: "failed", code: "INTERNAL", message: "" });
  expect((await clock.run(following)).map(({ event }) => event.type)).toEqual(["submitted", "claimed", "failed"]);
});
