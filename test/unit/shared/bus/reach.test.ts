import { pino } from "pino";
import { expect, test } from "vitest";
import { openServedModel } from "../../../../services/api/model.ts";
import { coordinate } from "../../../../services/batch/coordinator.ts";
import { RecordAway } from "../../../../services/shared/bus/away.ts";
import type { Bus } from "../../../../services/shared/bus/contract.ts";
import { openBus } from "../../../../services/shared/bus/open.ts";
import { Reach } from "../../../../services/shared/bus/reach.ts";
import { loadConfig } from "../../../../services/shared/runtime/config.ts";
import { told } from "../../../../services/shared/runtime/log.ts";
import { openMetrics } from "../../../../services/shared/runtime/metrics.ts";
import { systemRandom } from "../../../../services/shared/runtime/random.ts";
import { testApi } from "../../../support/api.ts";
import { overriding } from "../../../support/overriding.ts";
import { VirtualClock } from "../../../support/virtual-clock.ts";

const WHY = "NATS at a:4222 does not answer (connection refused); start it";
const away = () =>
  new RecordAway({ at: "a:4222", why: "connection refused", advice: "start it", lasts: true, cause: new Error("refused") });

/** A log, and its lines with the second of `clock` and without what a run decides. */
function logbook(clock: VirtualClock) {
  const lines: string[] = [];
  const write = (line: string) => {
    const { level, msg, lastsMs, err, ...rest } = JSON.parse(line) as Record<string, unknown>;
    expect(rest).toEqual({ time: expect.any(Number) });
    if (level !== 20)
      lines.push(
        `${Math.floor(clock.monotonicMs() / 1_000)}: ${msg}${lastsMs === undefined ? "" : ` (${lastsMs})`}${err ? " with its stack" : ""}`,
      );
  };
  return { log: pino({ base: null, serializers: { err: told } }, { write }), lines };
}

/** A bus that answers nothing while it is away. */
function failing() {
  const bus = openBus({ url: "memory:" });
  const state = { away: false };
  const whole = <T extends object>(target: T): T =>
    new Proxy(target, {
      get(_, name) {
        const value: unknown = Reflect.get(target, name, target);
        if (typeof value !== "function") return value;
        return (...args: unknown[]) => (state.away ? Promise.reject(away()) : value.apply(target, args));
      },
    });
  const documents = overriding(whole(bus.documents), { interruptions: () => 0 });
  const parts = { log: whole(bus.log), registry: whole(bus.registry), documents, queue: whole(bus.queue) };
  const ready: Bus["ready"] = (ms) => (state.away ? Promise.reject(away()) : bus.ready(ms));
  return { bus: { ...bus, ...parts, ready } satisfies Bus, state };
}

test("a trouble is told when it begins, once a minute and for each other kind, with all that fails, and when it is over", () => {
  const clock = new VirtualClock();
  return clock.run(
    (async () => {
      const { log, lines } = logbook(clock);
      const changes: (string | null)[] = [];
      const reach = new Reach(log, clock, (problem) => changes.push(problem));
      for (let second = 0; second < 125; second++) {
        reach.failed("work", away());
        if (second > 0) reach.failed("beat", away());
        if (second === 70) reach.failed("beat", new TypeError("no such thing"));
        await clock.sleep(1_000);
      }
      for (const need of ["work", "work", "beat"] as const) reach.worked(need);
      const both = `no work can be pulled, the record does not accept this worker's heartbeat`;
      expect(lines).toEqual([
        `0: no work can be pulled: ${WHY} (0)`,
        `60: ${both}: ${WHY} (60000)`,
        `70: no work can be pulled: ${WHY}; the record does not accept this worker's heartbeat: no such thing (70000) with its stack`,
        "125: NATS answers again (125000)",
      ]);
      expect(changes).toEqual([
        expect.stringMatching(/^no work can be pulled: NATS does not answer/),
        expect.stringMatching(/^the record does not accept this worker's heartbeat: NATS does not answer/),
        null,
      ]);
    })(),
  );
});

test("in an outage of two minutes an API that is probed and a coordinator say so three times, without stacks, and that it is over", async () => {
  const clock = new VirtualClock();
  const { log, lines } = logbook(clock);
  const { bus, state } = failing();
  const api = await testApi({}, bus, clock, log);
  const stop = new AbortController();
  const config = loadConfig({});
  const own = { bus, clock, log, config, model: await openServedModel(config), metrics: openMetrics(), random: systemRandom };
  const coordinator = coordinate(own, stop.signal);
  await clock.run(clock.sleep(60_000));
  lines.length = 0;
  state.away = true;
  expect((await fetch(`${api.url}/ready`)).status).toBe(503);
  await clock.run(clock.sleep(120_000));
  expect(lines.filter((line) => line.includes(`: ${WHY} (`))).toHaveLength(lines.length);
  expect(lines.length).toBeGreaterThanOrEqual(4);
  expect(lines.length).toBeLessThanOrEqual(6);
  state.away = false;
  lines.length = 0;
  await clock.run(clock.sleep(60_000));
  expect(lines).toEqual(Array(2).fill(expect.stringMatching(/^18\d: NATS answers again \(1\d{5}\)$/)));
  stop.abort();
  await clock.run(Promise.all([coordinator, api.close()]));
  await clock.run(bus.close());
});
