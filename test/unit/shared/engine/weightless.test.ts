import { setImmediate as nextTurn } from "node:timers/promises";
import fc from "fast-check";
import { expect, test } from "vitest";
import type { Engine, Sampling, SequenceId, SequenceStart } from "../../../../services/shared/engine/engine.ts";
import { openWeightlessEngine } from "../../../../services/shared/engine/weightless/weightless.ts";
import { heapMemory, type Memory } from "../../../../services/shared/runtime/memory.ts";
import { stepped } from "../../../support/stepped.ts";

const SEGMENT = 128;
const REPLAY = 160;
const sampling: Sampling = { temperature: 1, topP: 1, topK: 0, minP: 0, seed: 0xfeed_0000_0007n };
const settings = { segmentTokens: SEGMENT, replayTokens: REPLAY, chunkTokens: 300, vocabSize: 500 };

const prompts = fc.array(fc.nat(499), { minLength: 1, maxLength: 700 }).map((ids) => Int32Array.from(ids));

interface Run {
  readonly tokens: number[];
  readonly segments: Memory[];
}

/** The undisturbed run: one token after the other, from nothing. */
async function alone(engine: Engine, prompt: Int32Array, count: number): Promise<Run> {
  const { sequence } = await engine.open({ segments: [], boundary: null });
  const segments: Memory[] = [];
  let token = 0;
  for (const id of prompt) {
    const result = await engine.prefill(sequence, Int32Array.of(id), { sample: sampling });
    segments.push(...result.sealed.map(({ payload }) => payload));
    token = result.token!;
  }
  const tokens = [token];
  while (tokens.length < count) {
    const [next] = await engine.step([{ sequence, token: tokens.at(-1)!, sample: sampling }]);
    segments.push(...stepped(next).sealed.map(({ payload }) => payload));
    tokens.push(stepped(next).token);
  }
  await engine.close(sequence);
  return { tokens, segments };
}

/** Feeds `ids` from wherever `start` leads and draws one token. */
async function continued(engine: Engine, start: SequenceStart, ids: Int32Array, chunk = 300): Promise<number> {
  const { sequence, position } = await engine.open(start);
  let token = -1;
  for (let at = position; at < ids.length; at += chunk) {
    const result = await engine.prefill(sequence, ids.subarray(at, at + chunk), { sample: sampling });
    for (const { payload } of result.sealed) payload.release();
    token = result.token!;
  }
  await engine.close(sequence);
  return token;
}

async function boundaryAt(engine: Engine, ids: Int32Array): Promise<Uint8Array> {
  const { sequence } = await engine.open({ segments: [], boundary: null });
  for (let at = 0; at < ids.length; at += 300) await engine.prefill(sequence, ids.subarray(at, at + 300));
  const bytes = await engine.boundary(sequence);
  await engine.close(sequence);
  return bytes;
}

test("any chunking, any start from stored segments and boundaries gives the undisturbed token", async () => {
  const engine = openWeightlessEngine(settings);
  await fc.assert(
    fc.asyncProperty(prompts, fc.integer({ min: 1, max: 300 }), fc.double({ min: 0, max: 1, noNaN: true }), async (prompt, chunk, part) => {
      const { tokens, segments } = await alone(engine, prompt, 1);
      const cut = Math.floor(part * (prompt.length - 1));
      const before = segments.slice(0, Math.floor((prompt.length - 1) / SEGMENT));
      const boundary = cut === 0 ? null : { position: cut, bytes: await boundaryAt(engine, prompt.subarray(0, cut)) };

      expect(await continued(engine, { segments: [], boundary: null }, prompt, chunk)).toBe(tokens[0]);
      expect(await continued(engine, { segments: before, boundary: null }, prompt, chunk)).toBe(tokens[0]);
      expect(await continued(engine, { segments: before.slice(0, Math.floor(cut / SEGMENT)), boundary }, prompt, chunk)).toBe(tokens[0]);
      expect(await continued(engine, { segments: before, boundary }, prompt, chunk)).toBe(tokens[0]);
    }),
    { numRuns: 40 },
  );
});

test("a swapped, damaged or foreign segment, a missing replay token and a foreign boundary change the answer", async () => {
  const engine = openWeightlessEngine(settings);
  const prompt = Int32Array.from({ length: 600 }, (_, i) => (i * 37) % 499);
  const { tokens, segments } = await alone(engine, prompt, 1);
  const stored = segments.slice(0, 4);
  const damaged = heapMemory(stored[0]!.bytes.map((byte, i) => (i === 77 ? byte ^ 1 : byte)));
  const other = prompt.map((id) => (id + 1) % 499);
  const foreign = await alone(engine, other, 1);

  expect(await continued(engine, { segments: stored, boundary: null }, prompt)).toBe(tokens[0]);
  for (const wrong of [
    [stored[1]!, stored[0]!, ...stored.slice(2)],
    [damaged, ...stored.slice(1)],
    [foreign.segments[0]!, ...stored.slice(1)],
  ]) {
    expect(await continued(engine, { segments: wrong, boundary: null }, prompt)).not.toBe(tokens[0]);
  }
  const boundary = { position: 520, bytes: await boundaryAt(engine, other.subarray(0, 520)) };
  expect(await continued(engine, { segments: stored, boundary }, prompt)).not.toBe(tokens[0]);

  const { sequence, position } = await engine.open({ segments: stored, boundary: null });
  expect(position).toBe(512 - REPLAY);
  await engine.prefill(sequence, prompt.slice(position + 1, position + 200));
  expect((await engine.prefill(sequence, prompt.slice(position + 200), { sample: sampling })).token).not.toBe(tokens[0]);
});

test("inside a replay there is no boundary and no draw, as in the native engine", async () => {
  const engine = openWeightlessEngine(settings);
  const prompt = Int32Array.from({ length: 600 }, (_, i) => (i * 37) % 499);
  const { segments } = await alone(engine, prompt, 1);
  const { sequence, position, exactFrom } = await engine.open({ segments: segments.slice(0, 4), boundary: null });
  expect([position, exactFrom]).toEqual([512 - REPLAY, 512]);
  await engine.prefill(sequence, prompt.slice(position, 511));
  await expect(engine.boundary(sequence)).rejects.toThrow("the replay is exact from 512 on, and this is 511");
  await engine.prefill(sequence, prompt.slice(511, 512), { sample: sampling });
  expect(await engine.boundary(sequence)).toEqual(await boundaryAt(engine, prompt.subarray(0, 512)));
  const again = await engine.open({ segments: segments.slice(0, 4), boundary: null });
  await expect(engine.prefill(again.sequence, prompt.slice(position, 511), { sample: sampling })).rejects.toThrow("exact from 512");
});

test("batched steps draw what each sequence draws alone", async () => {
  const engine = openWeightlessEngine(settings);
  const all = [5, 130, 255].map((length) => Int32Array.from({ length }, (_, i) => (i * length) % 499));
  const expected = await Promise.all(all.map((prompt) => alone(engine, prompt, 140)));
  const opened = await Promise.all(all.map(() => engine.open({ segments: [], boundary: null })));
  const tokens = await Promise.all(
    all.map(async (prompt, i) => [(await engine.prefill(opened[i]!.sequence, prompt, { sample: sampling })).token!]),
  );
  for (let step = 1; step < 140; step++) {
    const results = await engine.step(opened.map(({ sequence }, i) => ({ sequence, token: tokens[i]!.at(-1)!, sample: sampling })));
    results.map(stepped).forEach(({ token }, i) => void tokens[i]!.push(token));
  }
  expect(tokens).toEqual(expected.map((run) => run.tokens));
});

test("seed and temperature decide the draw: greedy ignores the seed", async () => {
  const engine = openWeightlessEngine(settings);
  const prompt = Int32Array.of(1, 2, 3);
  const drawn = async (sample: Sampling) => {
    const { sequence } = await engine.open({ segments: [], boundary: null });
    return (await engine.prefill(sequence, prompt, { sample })).token;
  };
  expect(await drawn({ ...sampling, seed: 1n })).not.toBe(await drawn({ ...sampling, seed: 2n ** 63n + 1n }));
  expect(await drawn({ ...sampling, temperature: 0, seed: 1n })).toBe(await drawn({ ...sampling, temperature: 0, seed: 2n }));
});

test("an aborted chunk rejects with the reason between layers, and its sequence can only be closed", async () => {
  const engine = openWeightlessEngine({ ...settings, layers: 6 });
  const { sequence } = await engine.open({ segments: [], boundary: null });
  const stop = new AbortController();
  const seen: number[] = [];
  const onProgress = (done: number) => {
    seen.push(done);
    if (done === 2) stop.abort(new Error("enough"));
  };
  await expect(engine.prefill(sequence, Int32Array.of(1), { onProgress, signal: stop.signal })).rejects.toThrow("enough");
  expect(seen).toEqual([1, 2]);
  await expect(engine.prefill(sequence, Int32Array.of(1))).rejects.toThrow(/not open/);
  await engine.close(sequence);
  await engine.close(sequence);
  expect(engine.held).toEqual({ sequences: 0, memories: 0 });
});

test("calls that come in one turn of the event loop share the next, in their order; a failed one holds up nobody", async () => {
  let turns = 0;
  const turn = async () => {
    turns++;
    await nextTurn();
  };
  const engine = openWeightlessEngine({ ...settings, turn });
  const done: string[] = [];
  const open = async (name: string) => {
    const { sequence } = await engine.open({ segments: [], boundary: null });
    done.push(name);
    return sequence;
  };
  const [a] = await Promise.all([
    open("a"),
    expect(engine.step([{ sequence: 9 as SequenceId, token: 1, sample: sampling }])).rejects.toThrow("not open"),
    open("b"),
  ]);
  expect([done, turns]).toEqual([["a", "b"], 1]);
  await Promise.all([engine.prefill(a, Int32Array.of(1)), engine.prefill(a, Int32Array.of(2)), engine.close(a)]);
  expect(turns).toBe(2);
});

test("what cannot be is refused by name", async () => {
  const engine = openWeightlessEngine({ ...settings, contextTokens: 10 });
  await expect(engine.open({ segments: [heapMemory(3)], boundary: null })).rejects.toThrow("segment 0 has 3 bytes");
  await expect(engine.open({ segments: [], boundary: { position: 130, bytes: new Uint8Array(8) } })).rejects.toThrow(/boundary/);
  const { sequence } = await engine.open({ segments: [], boundary: null });
  await expect(engine.prefill(sequence, Int32Array.of(500))).rejects.toThrow("vocabulary of 500");
  await expect(engine.prefill(sequence, new Int32Array(11))).rejects.toThrow("10 tokens long");
  await expect(engine.prefill(sequence, new Int32Array(301))).rejects.toThrow("1 to 300 tokens");
});

test("top_k draws from so few ids, and from no more than there are", async () => {
  const engine = openWeightlessEngine({ vocabSize: 20 });
  const { sequence } = await engine.open({ segments: [], boundary: null });
  for (const [topK, below] of [
    [3, 3],
    [1_000, 20],
  ] as const)
    for (let i = 0; i < 50; i++) {
      const { token } = await engine.prefill(sequence, Int32Array.of(i % 20), { sample: { ...sampling, topK } });
      expect(token).toBeLessThan(below);
    }
  await engine.shutdown();
});
