import { beforeAll, expect, test, vi } from "vitest";
import { Grammars } from "../../../../services/shared/engine/grammar/grammars.ts";
import { Tokenizer } from "../../../../services/shared/engine/tokenizer/tokenizer.ts";
import { allowedIds } from "../../../support/allowed-ids.ts";

let tokenizer: Tokenizer;
beforeAll(async () => {
  tokenizer = await Tokenizer.load("deploy/models/yardlog");
});

test("a schema that takes longer than it may is given up, and the next one has a thread of its own", async () => {
  const hasty = new Grammars(tokenizer.vocabulary(), { compileMs: 20_000, nextMs: 20_000 });
  const names = Array.from({ length: 300 }, (_, i) => `p${i}`);
  const properties = Object.fromEntries(names.map((name) => [name, {}]));
  await hasty.check('{"type":"object"}');
  vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
  const slow = hasty.check(JSON.stringify({ type: "object", properties, additionalProperties: false, required: names }));
  for (const endMs = performance.now() + 20; performance.now() < endMs; ); // the thread has begun, and no turn of the event loop lets an answer in
  vi.advanceTimersByTime(20_000);
  vi.useRealTimers();
  await expect(slow).rejects.toMatchObject({ message: expect.stringContaining("not checked within 20000 ms") });
  await expect(hasty.check("5")).rejects.toMatchObject({ message: expect.stringContaining("must be an object") });
  await hasty.close();
});

test("no more calls wait than there is room for", async () => {
  const crowded = new Grammars(tokenizer.vocabulary(), { compileMs: 20_000, nextMs: 20_000 });
  const calls = Array.from({ length: 2_049 }, () => crowded.check('{"type":"object"}'));
  const all = Promise.allSettled(calls);
  await expect(calls.at(-1)).rejects.toMatchObject({ code: "OVERLOADED" });
  await crowded.close();
  await all;
});

test("what takes too long is nobody's mistake: it may succeed later, or elsewhere", async () => {
  const [compileMs, nextMs] = [20_000, 10_000];
  const hasty = new Grammars(tokenizer.vocabulary(), { compileMs, nextMs });
  const schema = '{"type":"array","items":{"type":"integer"}}';
  const opened = hasty.follow({ schema });
  const id = allowedIds((await opened.allowed([]))!, tokenizer.vocabSize)[0]!;
  /** Calls twice: `ms` are not over when the first answer comes, and over before the second can, which no turn of the event loop lets in. */
  const late = async (call: () => Promise<unknown>, ms: number) => {
    vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
    try {
      for (const passed of [ms - 1, ms]) {
        const called = call();
        await new Promise(process.nextTick);
        vi.advanceTimersByTime(passed);
        await called;
      }
    } finally {
      vi.useRealTimers();
    }
  };
  const tooSlow = (ms: number) => ({ code: "UNAVAILABLE", message: expect.stringContaining(`not checked within ${ms} ms`) });
  await expect(late(() => opened.allowed([id]), nextMs)).rejects.toMatchObject(tooSlow(nextMs));
  expect(allowedIds((await opened.allowed([id]))!, tokenizer.vocabSize).length).toBeGreaterThan(0); // a new thread reads it anew
  await expect(late(() => hasty.follow({ schema }).allowed([]), compileMs)).rejects.toMatchObject(tooSlow(compileMs));
  await hasty.check(schema);
  await expect(late(() => hasty.check(schema), compileMs)).rejects.toMatchObject(tooSlow(compileMs));
  await hasty.close();
});

test("a client's schema that has waited for 15 seconds is refused; what a job is held to is waited for", async () => {
  const busy = new Grammars(tokenizer.vocabulary(), { compileMs: 20_000, nextMs: 20_000 });
  const schema = '{"type":"object"}';
  await busy.check(schema);
  const startMs = Math.ceil(performance.now());
  const now = vi.spyOn(performance, "now").mockReturnValue(startMs);
  const calls = [busy.check(schema), busy.check(schema), busy.follow({ schema }).allowed([])];
  await new Promise(process.nextTick); // all have asked, and none is answered
  now.mockReturnValue(startMs + 1);
  calls.push(busy.check(schema));
  now.mockReturnValue(startMs + 15_001);
  const ended = await Promise.allSettled(calls);
  now.mockRestore();
  expect(ended.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled", "fulfilled"]);
  await expect(calls[1]).rejects.toMatchObject({ code: "OVERLOADED", message: expect.stringContaining("too many schemas wait") });
  await busy.close();
});
