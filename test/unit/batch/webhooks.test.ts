import { once } from "node:events";
import { createServer, type IncomingMessage, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { pino } from "pino";
import { afterEach, expect, test } from "vitest";
import { openServedModel } from "../../../services/api/model.ts";
import { coordinate } from "../../../services/batch/coordinator.ts";
import { Webhooks } from "../../../services/batch/webhooks.ts";
import { openBus } from "../../../services/shared/bus/open.ts";
import { systemClock } from "../../../services/shared/runtime/clock.ts";
import { loadConfig } from "../../../services/shared/runtime/config.ts";
import { silentLog } from "../../../services/shared/runtime/log.ts";
import { openMetrics } from "../../../services/shared/runtime/metrics.ts";
import { systemRandom } from "../../../services/shared/runtime/random.ts";

let receiver: Server;
afterEach(() => {
  receiver.closeAllConnections();
  receiver.close();
});

/** Tellers of what one record holds to a receiver that answers like this. */
async function tellers(answer: RequestListener, settings: NodeJS.ProcessEnv = {}) {
  receiver = createServer(answer).listen(0, "127.0.0.1");
  await once(receiver, "listening");
  const bus = openBus({ url: "memory:" });
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
    coordinator: async (stop: AbortSignal) => {
      const deps = { bus, config, model: await openServedModel(config), log: silentLog, metrics: openMetrics() };
      return coordinate({ ...deps, clock: systemClock, random: systemRandom }, stop);
    },
    webhooks: () => new Webhooks({ bus, clock: systemClock, config, log, readable: (_, document, read) => read(document) }),
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
          await webhooks.hear();
          webhooks.tellDue(1_000 * now - 1); // not yet
          webhooks.tellDue(1_000 * now);
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

test("of two that tell the same end at once one does, and what is told at once has a bound", async () => {
  const waiting: (() => void)[] = [];
  const { webhooks, ends, webhook } = await tellers((request, response) => {
    request.resume();
    waiting.push(() => response.end());
  });
  const ids = Array.from({ length: 17 }, (_, i) => `job_${i}`);
  await ends(...ids);
  const both = [webhooks(), webhooks()];
  await Promise.all(both.map((one) => one.hear()));
  for (const one of both) one.tellDue(1_000_000);
  await expect.poll(() => waiting.length, { timeout: 20_000 }).toBe(16);
  const begun = () => Promise.all(ids.map(async (id) => (await webhook(id))?.tries ?? "told"));
  expect(await begun()).toEqual([...Array(16).fill(1), 0]);
  for (const answer of waiting) answer();
  await expect.poll(begun, { timeout: 20_000 }).toEqual([...Array(16).fill("told"), 0]);
  expect(waiting).toHaveLength(16);
});

test("a receiver that sends elsewhere has not taken the end, and nobody else is told", async () => {
  const told: (string | undefined)[] = [];
  const {
    webhooks: open,
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
          await webhooks.hear();
          webhooks.tellDue(1_000 * now);
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
