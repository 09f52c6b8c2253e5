import { pino } from "pino";
import { expect, test } from "vitest";
import type { Appended } from "../../../../services/shared/bus/journal.ts";
import { FencedLog } from "../../../../services/shared/bus/log.ts";
import { MemoryJournal } from "../../../../services/shared/bus/memory/journal.ts";
import { tellWaits } from "../../../../services/shared/bus/waits.ts";
import { seededRandom } from "../../../../services/shared/runtime/random.ts";
import { held, never, progress, request } from "../../../support/bus.ts";
import { overriding } from "../../../support/overriding.ts";
import { VirtualClock } from "../../../support/virtual-clock.ts";

/** Two jobs that one process holds, and one to claim, over a log that answers appends in `outcome` instead of storing them, while there is one; and what is told, with the second. */
async function twoJobs() {
  const clock = new VirtualClock();
  const journal = new MemoryJournal({ bytesMax: 1e9, ageMsMax: 1e12, dedupeMs: 60_000 }, clock);
  const record: { outcome: Appended | null } = { outcome: null };
  const away = overriding(journal, { append: async (...args) => record.outcome ?? journal.append(...args) });
  const lines: string[] = [];
  const write = (line: string) => {
    const { level, msg, appends, waitedMs, givenUp } = JSON.parse(line) as Record<string, unknown>;
    lines.push(`${Math.round(Number(waitedMs) / 1_000)} s, ${level}: ${msg} (${appends}, ${givenUp})`);
  };
  const onWait = tellWaits(pino({ base: null }, { write }));
  const rules = { claimMs: 20_000, attemptsMax: 5, answerMs: 5_000, appendMs: 300_000, onWait };
  const log = new FencedLog(away, rules, clock, seededRandom(1), never);
  const claims = await Promise.all(
    ["one", "two"].map(async (jobId) => held(await log.claim(jobId, "prefill", "w", [await log.submit(jobId, request())]))),
  );
  await log.submit("three", request());
  const claim = () => log.claim("three", "prefill", "w");
  const append = () => Promise.all(claims.map((claim) => claim.append(progress(1))));
  return { clock, record, lines, append, claim };
}

const unknown: Appended = { kind: "unknown", cause: new Error("no answer") };
const WHY = "the record did not answer: no answer";

test("appends that wait are told of together within ten seconds, then after twice as long each time, and when it is over", async () => {
  const { clock, record, lines, append } = await twoJobs();
  record.outcome = unknown;
  const stored = append();
  await clock.run(clock.sleep(9_999));
  expect(lines).toEqual([expect.stringMatching(new RegExp(`^[789] s, 40: appends to the job log wait: ${WHY} \\(2, 0\\)$`))]);
  await clock.run(clock.sleep(90_001));
  const words = `, 40: appends to the job log wait: ${WHY} (2, 0)`;
  expect(lines.slice(1)).toEqual(["15 s", "31 s", "63 s"].map((at) => at + words));
  record.outcome = null;
  expect((await clock.run(stored)).map((event) => event?.event.type)).toEqual(["progress", "progress"]);
  expect(lines.slice(4)).toEqual([expect.stringMatching(/^10\d s, 30: the job log takes appends again \(0, 0\)$/)]);
});

test("appends to a full log say what there is to do, and that they waited in vain", async () => {
  const { clock, record, lines, append } = await twoJobs();
  record.outcome = { kind: "full", why: "restart it" };
  expect(await clock.run(append())).toEqual([null, null]);
  expect(lines.at(-1)).toBe("300 s, 40: appends to the job log waited in vain, others take their jobs over: restart it (0, 2)");
  expect(lines.length).toBeLessThan(8);
});

test("a wait that is over soon is not worth a word, and the next one is told of like the first", async () => {
  const { clock, record, lines, append } = await twoJobs();
  for (const waitMs of [5_000, 5_000, 20_000]) {
    record.outcome = unknown;
    const stored = append();
    await clock.run(clock.sleep(waitMs));
    record.outcome = null;
    await clock.run(stored);
  }
  expect(lines.map((line) => line.replace(/^.*\d+: /, ""))).toEqual([
    `appends to the job log wait: ${WHY} (2, 0)`,
    `appends to the job log wait: ${WHY} (2, 0)`,
    "the job log takes appends again (0, 0)",
  ]);
});

test("claims that wait in vain one behind the other are told of as one wait, and its end is when the log takes one", async () => {
  const { clock, record, lines, claim } = await twoJobs();
  record.outcome = unknown;
  for (let tries = 0; tries < 30; tries++) {
    await expect(clock.run(claim())).rejects.toThrow("the record did not answer");
    await clock.run(clock.sleep(200));
  }
  const waits = (s: number, givenUp: number) => `${s} s, 40: appends to the job log wait: ${WHY} (1, ${givenUp})`;
  expect(lines).toEqual([
    ...[waits(7, 0), waits(15, 0), `20 s, 40: appends to the job log waited in vain, others take their jobs over: ${WHY} (0, 1)`],
    ...[waits(31, 1), waits(61, 3), waits(123, 6), waits(246, 12), waits(492, 24)],
  ]);
  record.outcome = null;
  expect(await clock.run(claim())).toMatchObject({ kind: "claimed" });
  expect(lines.slice(8)).toEqual([expect.stringMatching(/^6\d\d s, 30: the job log takes appends again \(0, 30\)$/)]);
});

test("what was waited for in vain long ago is no part of a new wait", async () => {
  const { clock, record, lines, claim } = await twoJobs();
  record.outcome = unknown;
  for (let tries = 0; tries < 2; tries++) {
    await expect(clock.run(claim())).rejects.toThrow("the record did not answer");
    await clock.run(clock.sleep(300_001));
  }
  expect(lines.map((line) => line.slice(0, 4))).toEqual(["7 s,", "15 s", "20 s", "7 s,", "15 s", "20 s"]);
});
