import { pino } from "pino";
import { expect, test } from "vitest";
import { Failures } from "../../../services/api/failures.ts";
import { RecordAway } from "../../../services/shared/bus/away.ts";
import { openBus } from "../../../services/shared/bus/open.ts";
import { ServingError } from "../../../services/shared/runtime/errors.ts";
import { testApi } from "../../support/api.ts";
import { overriding } from "../../support/overriding.ts";
import { VirtualClock } from "../../support/virtual-clock.ts";

type Line = Readonly<Record<string, unknown>>;

/** A log and what is written there at the level info or above. */
function logbook() {
  const lines: Line[] = [];
  return { log: pino({ base: null }, { write: (line: string) => lines.push(JSON.parse(line) as Line) }), lines };
}

const away = (at = "a:4222") => new RecordAway({ at, why: "refused", advice: "start it", lasts: true, cause: new Error("refused") });

test("what is away is told once a minute for each way in which it is, with how many were answered alike", () => {
  const clock = new VirtualClock();
  const { log, lines } = logbook();
  const failures = new Failures(log, clock);
  return clock.run(
    (async () => {
      for (let second = 0; second < 125; second++) {
        for (let i = 0; i < 5; i++) failures.tell("request failed", { request: `req_${second}_${i}` }, away());
        if (second % 50 === 10) failures.tell("call failed", { path: "/Get" }, away("b:4222"));
        await clock.sleep(1_000);
      }
      const words = (at: string) => `NATS at ${at} does not answer (refused); start it`;
      const told = lines.map(({ request, path, message, alike }) => [request ?? path, message, alike]);
      expect(told).toEqual([
        ["req_0_0", words("a:4222"), undefined],
        ["/Get", words("b:4222"), undefined],
        ["req_60_0", words("a:4222"), 299],
        ["/Get", words("b:4222"), 1],
        ["req_120_0", words("a:4222"), 299],
      ]);
    })(),
  );
});

test("however many words there are for it, few are told", () => {
  const { log, lines } = logbook();
  const failures = new Failures(log, new VirtualClock());
  for (let i = 0; i < 100; i++) failures.tell("request failed", {}, new ServingError("UNAVAILABLE", `job ${i} lags`));
  expect(lines).toHaveLength(8);
});

test("a defect is told each time, with its stack, and what is the client's fault never", () => {
  const { log, lines } = logbook();
  const failures = new Failures(log, new VirtualClock());
  for (let i = 0; i < 3; i++) failures.tell("request failed", {}, ServingError.from(new TypeError("no such thing")));
  for (let i = 0; i < 3; i++) failures.tell("request failed", {}, new ServingError("DAMAGED", "an event cannot be read"));
  failures.tell("request failed", {}, new ServingError("INVALID_REQUEST", "model: is missing"));
  expect(lines.map(({ level, message }) => [level, message])).toEqual([
    ...Array(3).fill([50, undefined]),
    ...Array(3).fill([40, "an event cannot be read"]),
  ]);
  expect(lines[0]!.err).toMatchObject({ stack: expect.stringContaining("failures.test.ts") });
});

test("requests that a record which is away keeps from being answered are one line", async () => {
  const { log, lines } = logbook();
  const bus = openBus({ url: "memory:" });
  const jobs = () => Promise.reject(away());
  const api = await testApi({}, overriding(bus, { registry: overriding(bus.registry, { jobs }) }), undefined, log);
  for (let i = 0; i < 20; i++) expect((await fetch(`${api.url}/v1/jobs`)).status).toBe(503);
  expect(lines.filter(({ msg }) => msg === "request failed" || msg === "answered")).toHaveLength(1);
  await api.close();
});
