import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { AWAY_MS, acrossAbsence, sayingAway } from "../../../services/cli/absence.ts";
import type { Client } from "../../../services/cli/client.ts";
import { download } from "../../../services/cli/download.ts";
import { systemClock } from "../../../services/shared/runtime/clock.ts";
import { ServingError } from "../../../services/shared/runtime/errors.ts";

let folder: string;
let path: string;
let nowMs: number;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "longshore-download-"));
  path = join(folder, "out.jsonl");
  nowMs = 0;
  vi.spyOn(systemClock, "monotonicMs").mockImplementation(() => nowMs);
  vi.spyOn(systemClock, "sleep").mockImplementation(async (ms) => {
    nowMs += ms;
    if (nowMs > 3 * AWAY_MS) throw new Error("it is tried for ever");
  });
});
afterEach(() => {
  vi.restoreAllMocks();
  rmSync(folder, { recursive: true });
});

const broken = new ServingError("UNAVAILABLE", "the connection broke");
/** Fetches a file of which each try brings this much, and throws where there is an error behind it. */
function fetched(tries: (time: number) => Iterable<string | Error>) {
  let time = 0;
  const said: string[] = [];
  const read = async function* () {
    for (const piece of tries(++time)) {
      if (piece instanceof Error) throw piece;
      yield Buffer.from(piece);
    }
  };
  const whole = download(
    { read } as unknown as Client,
    "file-1",
    path,
    sayingAway("API", (text) => said.push(text)),
  );
  return { whole, said, times: () => time };
}

test("a download that breaks twice, with minutes between in which more came, is no absence of minutes", async () => {
  const { whole } = fetched(function* (time) {
    yield "one, ";
    if (time === 1) yield broken;
    nowMs += AWAY_MS + 1;
    yield "two, ";
    if (time === 2) yield broken;
    yield "three";
  });
  await whole;
  expect(readFileSync(path, "utf8")).toBe("one, two, three");
});

test("a download that breaks off at the same place each time is given up, and nothing stays of it", async () => {
  const { whole } = fetched(() => ["as far as it goes", broken]);
  await expect(whole).rejects.toBe(broken);
  expect(nowMs).toBeGreaterThan(AWAY_MS);
  expect(readdirSync(folder)).toEqual([]);
});

test("an API that answers again is said to with the first bytes, not once all are there", async () => {
  const { whole, said } = fetched(function* (time) {
    if (time === 1) yield broken;
    yield "the first bytes";
    expect(said).toEqual(["no answer from API, trying again", "API answers again"]);
    expect(existsSync(path)).toBe(false);
  });
  await whole;
  expect(said).toHaveLength(2);
});

test("an API that asks to come later is busy, not away", async () => {
  const said: string[] = [];
  const thrown = ["OVERLOADED", "OVERLOADED", "UNAVAILABLE"] as const;
  let tries = 0;
  const ask = async () => {
    const code = thrown[tries++];
    if (code !== undefined) throw new ServingError(code, "not now");
  };
  await acrossAbsence(
    ask,
    sayingAway("API", (text) => said.push(text)),
  );
  expect(said).toEqual(["API is busy, trying again", "no answer from API, trying again", "API answers again"]);
});
