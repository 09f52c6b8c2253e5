import { Worker } from "node:worker_threads";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Drawn, Sampling, Sealed, SequenceId } from "../../../../services/shared/engine/engine.ts";
import { liveHandles } from "../../../../services/shared/engine/kernels.ts";
import { type NativeEngine, openNativeEngine } from "../../../../services/shared/engine/native/engine.ts";
import type { NativeOptions } from "../../../../services/shared/engine/native/options.ts";
import { ServingError } from "../../../../services/shared/runtime/errors.ts";
import { heapMemory } from "../../../../services/shared/runtime/memory.ts";
import { seededRandom } from "../../../../services/shared/runtime/random.ts";
import { stepped } from "../../../support/stepped.ts";
import { goldenFolder } from "../../../support/timeline.ts";

const options: NativeOptions = {
  modelPath: goldenFolder("t1"),
  mode: "serving",
  threads: 1,
  segmentTokens: 128,
  chunkTokens: 64,
  batchMax: 4,
  draftMax: 3,
  contextTokens: 600,
};
const sample: Sampling = { temperature: 1, topP: 1, topK: 0, minP: 0, seed: 7n };
const random = seededRandom(1);
const prompt = Int32Array.from({ length: 300 }, () => random.u32() % 48);

/** A signal that is aborted as soon as somebody listens to it: behind the look at whether it is, before the thread can have begun. */
function abortedOnceHeard(reason: Error): AbortSignal {
  const controller = new AbortController();
  const { signal } = controller;
  signal.addEventListener = (...listener: Parameters<EventTarget["addEventListener"]>) => {
    EventTarget.prototype.addEventListener.apply(signal, listener);
    controller.abort(reason);
  };
  return signal;
}

describe("the engine in its thread", () => {
  let engine: NativeEngine;
  let handlesBefore = 0;
  beforeAll(async () => {
    engine = await openNativeEngine(options);
    handlesBefore = liveHandles();
  });
  afterAll(() => engine.shutdown());

  /** Feeds ids in chunks, draws behind the last one, and goes on for `steps` tokens. */
  async function generate(sequence: SequenceId, ids: Int32Array, steps: number): Promise<{ tokens: number[]; sealed: Sealed[] }> {
    const sealed: Sealed[] = [];
    const tokens: number[] = [];
    for (let at = 0; at < ids.length; at += options.chunkTokens) {
      const last = at + options.chunkTokens >= ids.length;
      const result = await engine.prefill(sequence, ids.slice(at, at + options.chunkTokens), { sample: last ? sample : undefined });
      sealed.push(...result.sealed);
      if (result.token !== null) tokens.push(result.token);
    }
    while (tokens.length < steps) {
      const [result] = await engine.step([{ sequence, token: tokens.at(-1)!, sample }]);
      tokens.push(stepped(result).token);
      sealed.push(...stepped(result).sealed);
    }
    return { tokens, sealed };
  }

  const release = (sealed: readonly Sealed[]) => {
    for (const { payload } of sealed) payload.release();
  };

  test("a replay over stored segments, a boundary, and segments on the heap all go on with the undisturbed tokens and state", async () => {
    const first = await engine.open({ segments: [], boundary: null });
    const cut = 256; // the end of two segments
    const undisturbed = await generate(first.sequence, prompt, 20);
    const state = await engine.boundary(first.sequence);
    expect(undisturbed.sealed.map(({ index }) => index)).toEqual([0, 1]);

    const atCut = await engine.open({ segments: [], boundary: null });
    release((await generate(atCut.sequence, prompt.slice(0, cut), 0)).sealed);
    const boundary = { position: cut, bytes: await engine.boundary(atCut.sequence) };
    const segments = undisturbed.sealed.map(({ payload }) => payload);
    const starts = [
      { start: { segments, boundary: null }, position: cut - engine.info.replayTokens },
      { start: { segments, boundary }, position: cut },
      { start: { segments: segments.map(({ bytes }) => heapMemory(bytes.slice())), boundary }, position: cut },
    ];
    for (const { start, position } of starts) {
      const opened = await engine.open(start);
      expect(opened.position).toBe(position);
      const continued = await generate(opened.sequence, prompt.slice(position), 20);
      expect(continued.tokens).toEqual(undisturbed.tokens);
      expect(continued.sealed).toEqual([]);
      expect(Buffer.compare(await engine.boundary(opened.sequence), state)).toBe(0);
      await engine.close(opened.sequence);
    }
    release(undisturbed.sealed);
    await engine.close(first.sequence);
    await engine.close(atCut.sequence);
    expect(liveHandles()).toBe(handlesBefore);
  });

  test("penalties, bias, log probabilities and what is allowed: the same bits alone, beside others, and taken over in the middle", async () => {
    const wanted: Sampling = {
      ...sample,
      presencePenalty: 0.5,
      frequencyPenalty: 20,
      bias: { ids: [5, 9], values: [2, -100] },
      topLogprobs: 3,
    };
    const allowed = Uint32Array.of(0xff0, 0); // tokens 4 to 11
    const opened = async (ids: Int32Array) => {
      const { sequence } = await engine.open({ segments: [], boundary: null });
      for (let at = 0; at < ids.length; at += 64) {
        const { sealed, ...drawn } = await engine.prefill(sequence, ids.slice(at, at + 64), { sample: wanted, allowed });
        release(sealed);
        if (at + 64 >= ids.length) return { sequence, drawn: { ...drawn, token: drawn.token! } };
      }
      throw new Error("no ids");
    };
    const goOn = async (
      sequence: SequenceId,
      before: readonly Drawn[],
      tells: "always" | "once",
      beside?: SequenceId,
    ): Promise<Drawn[]> => {
      const all = [...before];
      while (all.length < 24) {
        const { token } = all.at(-1)!;
        const told = tells === "always" || all.length === before.length ? { answer: Int32Array.from(all, (drawn) => drawn.token) } : {};
        const own = { sequence, token, sample: wanted, ...told, allowed: [allowed] };
        const other = beside === undefined ? [] : [{ sequence: beside, token: 1, sample }];
        const results = (await engine.step([...other, own])).map(stepped);
        for (const { sealed } of results) release(sealed);
        const { sealed: _, ...drawn } = results.at(-1)!;
        all.push(drawn);
      }
      await engine.close(sequence);
      return all;
    };
    const first = await opened(prompt.slice(0, 200));
    const alone = await goOn(first.sequence, [first.drawn], "always");
    expect(alone.every(({ token, logprobs }) => token > 3 && token < 12 && token !== 9 && logprobs?.top.length === 3)).toBe(true);
    const times = [4, 5, 6, 7, 8, 10, 11].map((id) => alone.filter(({ token }) => token === id).length);
    expect(times.sort()).toEqual([3, 3, 3, 3, 4, 4, 4]); // a token that came once more than another is not drawn before it
    const [again, neighbour] = [await opened(prompt.slice(0, 200)), await opened(prompt.slice(0, 150))];
    expect(await goOn(again.sequence, [again.drawn], "once", neighbour.sequence)).toEqual(alone);
    await engine.close(neighbour.sequence);
    const answer = alone.slice(0, 10).map(({ token }) => token);
    const over = await opened(Int32Array.from([...prompt.slice(0, 200), ...answer.slice(0, -1)]));
    expect(await goOn(over.sequence, alone.slice(0, 10), "once")).toEqual(alone);
    expect(liveHandles()).toBe(handlesBefore);
  });

  test("progress is told layer by layer, and an aborted chunk leaves a sequence that can only be closed", async () => {
    const { sequence } = await engine.open({ segments: [], boundary: null });
    const seen: number[] = [];
    await engine.prefill(sequence, prompt.slice(0, 10), { onProgress: (done, layers) => seen.push(done / layers) });
    expect(seen).toEqual([0.25, 0.5, 0.75, 1]);

    const reason = new Error("overtaken");
    await expect(engine.prefill(sequence, prompt.slice(10, 74), { signal: abortedOnceHeard(reason) })).rejects.toBe(reason);
    await expect(engine.prefill(sequence, prompt.slice(10, 74))).rejects.toThrow(/it can only be closed/);
    await engine.close(sequence);
    await engine.close(sequence);
    expect(liveHandles()).toBe(handlesBefore);
  });

  test("what cannot be continued is an INVALID_REQUEST that says why, and the engine goes on", async () => {
    const refused = async (call: Promise<unknown>, words: RegExp, code = "INVALID_REQUEST") => {
      const error = await call.then(
        () => null,
        (thrown: unknown) => thrown,
      );
      expect(error).toBeInstanceOf(ServingError);
      expect((error as ServingError).code).toBe(code);
      expect((error as ServingError).message).toMatch(words);
    };
    const { segmentBytes } = engine.info;
    const good = engine.allocate(segmentBytes);
    const short = engine.allocate(segmentBytes - 8);
    const boundary = (position: number, bytes: number) => ({ position, bytes: new Uint8Array(bytes) });
    await refused(engine.open({ segments: [good, short], boundary: null }), /segment 1 has \d+ bytes/);
    await refused(engine.open({ segments: [], boundary: boundary(5, 100) }), /a boundary at 5 has \d+ bytes in bf16\+bf16, not 100/);
    await refused(engine.open({ segments: [good], boundary: boundary(300, 100) }), /does not continue 1 segments of 128/);
    const replay = await engine.open({ segments: [good, good], boundary: null });
    await refused(engine.boundary(replay.sequence), /no boundary at 128: the replay is exact from 256/);
    await refused(engine.prefill(replay.sequence, prompt.slice(0, 64), { sample }), /no token can be drawn at 192/);
    await refused(engine.prefill(replay.sequence, new Int32Array(65)), /a chunk has 1 to 64 tokens, not 65/);
    await refused(engine.prefill(replay.sequence, Int32Array.of(48)), /token 48 is not in the vocabulary of 48/);
    const input = { sequence: replay.sequence, token: 1, sample };
    await refused(engine.step([input, input]), /twice/);
    await refused(engine.step(new Array(5).fill(input)), /1 to 4 tokens, not 5/);
    for (let at = 128; at < 576; at += 64) release((await engine.prefill(replay.sequence, prompt.slice(0, 64))).sealed);
    await refused(engine.prefill(replay.sequence, prompt.slice(0, 64)), /640 tokens, but the context is 600/, "CONTEXT_LENGTH");
    await engine.close(replay.sequence);
    await refused(engine.boundary(replay.sequence), /is not open/);
    good.release();
    short.release();
    expect(liveHandles()).toBe(handlesBefore);
  });
});

test("shutting down ends the thread and frees everything native", async () => {
  const before = liveHandles();
  const engine = await openNativeEngine(options);
  await engine.open({ segments: [], boundary: null });
  expect(engine.failure).toBeNull();
  await engine.shutdown();
  await engine.shutdown();
  expect(engine.failure?.code).toBe("UNAVAILABLE");
  await expect(engine.open({ segments: [], boundary: null })).rejects.toThrow(/shut down/);
  expect(liveHandles()).toBe(before);
});

test.each([
  { problem: { modelPath: "/nowhere" }, code: "BAD_CHECKPOINT" },
  { problem: { segmentTokens: 130 }, code: "INVALID_REQUEST" },
  { problem: { kernelPath: "abacus" }, code: "INVALID_REQUEST" },
])("an engine that cannot open says why: $problem", async ({ problem, code }) => {
  const before = liveHandles();
  await expect(openNativeEngine({ ...options, ...problem })).rejects.toMatchObject({ code });
  expect(liveHandles()).toBe(before);
});

test("a thread that dies rejects everything that waits for it, and everything after", async () => {
  const dying = `import { parentPort } from "node:worker_threads";
    parentPort.on("message", () => { throw new Error("out of luck"); });
    parentPort.postMessage({ kind: "ready", ready: { info: {}, warnings: [] } });`;
  const code = new URL(`data:text/javascript,${encodeURIComponent(dying)}`);
  const engine = await openNativeEngine(options, (thread) => new Worker(code, thread));
  const sequence = 1 as SequenceId;
  expect(engine.failure).toBeNull();
  const waiting = [engine.boundary(sequence), engine.close(sequence)];
  for (const call of waiting) await expect(call).rejects.toMatchObject({ code: "INTERNAL", message: /thread ended: out of luck/ });
  expect(engine.failure?.code).toBe("INTERNAL");
  await expect(engine.boundary(sequence)).rejects.toThrow(/out of luck/);
});
