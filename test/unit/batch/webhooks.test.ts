import { once } from "node:events";
import { createServer, type IncomingMessage, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { pino } from "pino";
import { afterEach, expect, test } from "vitest";
import { openServedModel } from "../../../services/api/model.ts";
import { coordinate } from "../../../services/batch/coordinator.ts";
import { ReceiverWindow } from "../../../services/batch/receiver-window.ts";
import { UntoldEnds } from "../../../services/batch/untold-ends.ts";
import { Webhooks } from "../../../services/batch/webhooks.ts";
import type { Bus } from "../../../services/shared/bus/contract.ts";
import { openBus } from "../../../services/shared/bus/open.ts";
import { type Clock, systemClock } from "../../../services/shared/runtime/clock.ts";
import { loadConfig } from "../../../services/shared/runtime/config.ts";
import { silentLog } from "../../../services/shared/runtime/log.ts";
import { openMetrics } from "../../../services/shared/runtime/metrics.ts";
import { systemRandom } from "../../../services/shared/runtime/random.ts";
import { overriding } from "../../support/overriding.ts";

let receiver: Server;
afterEach(() => {
  receiver.closeAllConnections();
  receiver.close();
});

/** Tellers of what one record holds to a receiver that answers like this, in no hurry and of a time that the test sets. */
async function tellers(answer: RequestListener, settings: NodeJS.ProcessEnv = {}) {
  receiver = createServer(answer).listen(0, "127.0.0.1");
  await once(receiver, "listening");
  const record = openBus({ url: "memory:" });
  let nowMs = () => record.log.nowMs();
  const bus = { ...record, log: overriding(record.log, { nowMs: () => nowMs() }) };
  const lines: string[] = [];
  const log = pino({}, { write: (line: string) => lines.push((JSON.parse(line) as { msg: string }).msg) });
  const config = loadConfig({
    LONGSHORE_WEBHOOK_URL: `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/hook`,
    LONGSHORE_WEBHOOK_SECRET: `whsec_${Buffer.alloc(24).toString("base64")}`,
    ...settings,
  });
  const end = (id: string) => ({ type: "job.finished", id, endedAt: 1_000, webhook: { tries: 0, nextAt: 1_000 } });
  return {
    lines,
    bus,
    /** It is so late from now on; unix seconds. */
    at: (seconds: number) => {
      nowMs = async () => 1_000 * seconds;
    },
    coordinator: async (stop: AbortSignal, changes: Partial<Bus> = {}) => {
      const deps = { bus: { ...bus, ...changes }, config, model: await openServedModel(config), log: silentLog, metrics: openMetrics() };
      return coordinate({ ...deps, clock: systemClock, random: systemRandom }, stop);
    },
    webhooks: (clock: Clock = systemClock) => new Webhooks({ bus, clock, config, log, readable: (_, document, read) => read(document) }),
    ends: async (...ids: readonly string[]) => {
      for (const id of ids) await bus.documents.put("event", "t", id, JSON.stringify(end(id)), 0);
    },
    webhook: async (id: string) => (JSON.parse((await bus.documents.get("event", "t", id))!.text) as ReturnType<typeof end>).webhook,
  };
}

test("an end that nobody takes is told ten times, ever later, and then given up", async () => {
  let tries = 0;
  const {
    webhooks: open,
    at,
    ends,
    lines,
    webhook,
  } = await tellers((request, response) => {
    tries++;
    request.resume();
    response.writeHead(500).end();
  });
  const webhooks = open();
  await ends("job_1");
  const waits: number[] = [];
  let now = 1_000;
  for (let told = 1; told <= 10; told++) {
    await expect
      .poll(
        async () => {
          at(now - 1); // not yet
          await webhooks.look();
          at(now);
          await webhooks.look();
          return tries;
        },
        { interval: 5, timeout: 20_000 },
      )
      .toBe(told);
    if (told === 10) break;
    const { nextAt } = await webhook("job_1");
    waits.push(nextAt - now);
    now = nextAt;
  }
  expect(waits).toEqual([10, 10, 20, 40, 80, 160, 320, 640, 1_280]);
  await expect.poll(() => webhook("job_1"), { timeout: 20_000 }).toBeNull();
  expect(lines, "one line of all tries of a minute").toEqual(["webhooks are not taken: status 500"]);
});

test("of two that tell the same end at once one does", async () => {
  const waiting: (() => void)[] = [];
  const { webhooks, ends, webhook } = await tellers((request, response) => {
    request.resume();
    waiting.push(() => response.end());
  });
  const ids = Array.from({ length: 16 }, (_, i) => `job_${i}`);
  await ends(...ids);
  await Promise.all([webhooks(), webhooks()].map((one) => one.look()));
  await expect.poll(() => waiting.length, { timeout: 20_000 }).toBe(16);
  const begun = () => Promise.all(ids.map(async (id) => (await webhook(id))?.tries ?? "told"));
  expect(await begun()).toEqual(Array(16).fill(1));
  for (const answer of waiting) answer();
  await expect.poll(begun, { timeout: 20_000 }).toEqual(Array(16).fill("told"));
  expect(waiting).toHaveLength(16);
});

test("what is told makes place for others at once, for more as long as the receiver keeps up, and for no more than 128", async () => {
  let waiting: (() => void)[] = [];
  let told = 0;
  let most = 0;
  const { webhooks, ends } = await tellers((request, response) => {
    request.resume();
    waiting.push(() => response.end());
    most = Math.max(most, waiting.length);
  });
  await ends(...Array.from({ length: 600 }, (_, i) => `job_${i}`));
  const clock = { ...systemClock, sleep: async () => {} }; // nothing keeps its place
  await webhooks(clock).look();
  await expect.poll(() => waiting.length, { timeout: 20_000 }).toBe(16);
  for (let wave = 16; told < 600; wave = Math.min(128, 2 * wave, 600 - told)) {
    await expect.poll(() => waiting.length, { timeout: 20_000 }).toBe(wave);
    const answers = waiting;
    waiting = [];
    told += answers.length;
    for (const answer of answers) answer();
  }
  expect(most).toBe(128);
});

test("a receiver that is told too many is told fewer", () => {
  const window = new ReceiverWindow();
  for (let i = 0; i < 1_000; i++) window.tried("good", window.size - 1);
  expect(window.size, "it was never full").toBe(16);
  for (let i = 0; i < 1_000; i++) window.tried("good", window.size);
  expect(window.size).toBe(128);
  for (let i = 0; i < 64; i++) window.tried("slow", window.size);
  expect(window.size, "it answers in time").toBe(128);
  for (let i = 0; i < 64; i++) window.tried("late", window.size);
  expect(window.size).toBe(64);
  for (let i = 0; i < 1_000; i++) window.tried("late", 1);
  expect(window.size).toBe(4);
});

test("a receiver that is away is told few at once, each for a second", async () => {
  let tries = 0;
  const sleeping: (() => void)[] = [];
  const clock = {
    ...systemClock,
    sleep: (ms: number) => new Promise<void>((resolve) => sleeping.push(resolve)).then(() => expect(ms).toBe(1_000)),
  };
  const { webhooks, ends } = await tellers((request, response) => {
    tries++;
    request.resume();
    response.writeHead(503).end();
  });
  await ends(...Array.from({ length: 60 }, (_, i) => `job_${i}`));
  await webhooks(clock).look();
  for (const tried of [16, 20, 24]) {
    await expect.poll(() => [tries, sleeping.length], { timeout: 20_000 }).toEqual([tried, tried]);
    for (const wake of sleeping) wake();
  }
});

test("ends that wait are known up to a bound, and those behind are read once there are fewer", async () => {
  const { bus, ends } = await tellers(() => {});
  const ids = Array.from({ length: 7 }, (_, i) => `job_${i}`);
  await ends(...ids);
  const untold = new UntoldEnds("event", { bus, readable: (_, document, read) => read(document) }, 3);
  const taken = () => {
    untold.wake(Date.now());
    return Array.from({ length: 9 }, () => untold.take()?.id).filter((id) => id !== undefined);
  };
  const all: string[] = [];
  for (const count of [3, 3, 1, 0]) {
    for (let looks = 0; looks < 3; looks++) await untold.hear(new AbortController().signal);
    const some = taken();
    expect(some).toHaveLength(count);
    all.push(...some);
  }
  expect(all).toEqual(ids);
});

test("ends that cannot be read hold up no batch", async () => {
  const { bus, coordinator } = await tellers(() => {}, { LONGSHORE_BEAT_MS: "100" });
  const stop = new AbortController();
  const never = new Promise<never>((_, reject) => stop.signal.addEventListener("abort", () => reject(new Error("stopped"))));
  let looks = 0;
  const end: Bus["documents"]["end"] = (kind) => {
    if (kind === "event") return never;
    if (kind === "batch" && ++looks === 10) stop.abort(new Error("told to stop"));
    return bus.documents.end(kind);
  };
  await coordinator(stop.signal, { documents: overriding(bus.documents, { end }) });
  expect(looks).toBeGreaterThanOrEqual(10);
});

test("a stop does not wait until all ends are read, and none is begun to be told behind it", async () => {
  let tried = 0;
  const { bus, coordinator, ends } = await tellers(
    (request) => {
      request.resume();
      tried++;
    },
    { LONGSHORE_DRAIN_MS: "4000", LONGSHORE_CHUNK_MS: "500" },
  );
  await ends("job_1");
  const stop = new AbortController();
  let pages = 0;
  const changes = {
    end: async () => 1_000_000,
    behind: async (...[kind, tenant, after]: Parameters<Bus["documents"]["behind"]>) => {
      if (kind !== "event") return [];
      const [document] = await bus.documents.behind(kind, tenant, 0, 1);
      if (++pages === 5) stop.abort(new Error("told to stop"));
      return [{ ...document!, place: after + 1 }];
    },
  };
  await coordinator(stop.signal, { documents: overriding(bus.documents, changes) });
  expect([pages, tried]).toEqual([5, 0]);
});

test("a receiver that sends elsewhere has not taken the end, and nobody else is told", async () => {
  const told: (string | undefined)[] = [];
  const {
    webhooks: open,
    at,
    ends,
    webhook,
  } = await tellers((request, response) => {
    told.push(request.url);
    request.resume();
    response.writeHead(request.url === "/hook" ? 302 : 200, { location: "/elsewhere" }).end();
  });
  const webhooks = open();
  await ends("job_1");
  for (const now of [1_000, 1_010]) {
    await expect
      .poll(
        async () => {
          at(now);
          await webhooks.look();
          return (await webhook("job_1"))?.nextAt;
        },
        { interval: 5, timeout: 20_000 },
      )
      .toBe(now + 10);
  }
  await expect.poll(() => told, { timeout: 20_000 }).toEqual(["/hook", "/hook"]);
});

test("a coordinator that is told to stop writes down what is taken of what it tells, so that nobody is told it again", async () => {
  const stop = new AbortController();
  const { coordinator, ends, webhook } = await tellers((request, response) => {
    request.resume();
    stop.abort(new Error("told to stop"));
    setImmediate(() => response.end());
  });
  await ends("job_1");
  await coordinator(stop.signal);
  expect(await webhook("job_1")).toBeNull();
});

test("a receiver that does not answer holds up a stop for a part of its time, and is told again", async () => {
  const stop = new AbortController();
  const hung = (request: IncomingMessage) => {
    request.resume();
    stop.abort(new Error("told to stop"));
  };
  const { coordinator, ends, webhook } = await tellers(hung, { LONGSHORE_DRAIN_MS: "4000", LONGSHORE_CHUNK_MS: "500" });
  await ends("job_1");
  const stopped = coordinator(stop.signal);
  await once(stop.signal, "abort");
  const beganMs = performance.now();
  await stopped;
  expect(performance.now() - beganMs).toBeLessThan(4_000);
  expect(await webhook("job_1")).toMatchObject({ tries: 1 });
});
