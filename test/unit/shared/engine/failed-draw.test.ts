import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { EngineCore } from "../../../../services/shared/engine/native/core.ts";
import { inFolder } from "../../../support/synthetic.ts";
import { goldenFolder } from "../../../support/timeline.ts";

const greedy = { temperature: 0, topP: 1, topK: 0, minP: 0, seed: 0n };

test("a sequence whose logits are not finite fails alone: the others of its step get what they get without it", () =>
  inFolder((dir) => {
    const core = overflowing(dir);
    const draw = (token: number) => {
      const { sequence } = core.open([], null);
      return { sequence, result: caught(() => core.prefill(sequence, Int32Array.of(token), greedy).token) };
    };
    const firsts = Array.from({ length: 48 }, (_, token) => draw(token).result);
    const good = firsts.findIndex((result) => typeof result === "number");
    const bad = firsts.findIndex((result) => result instanceof Error);
    expect(firsts[bad]).toMatchObject({
      code: "INTERNAL",
      message: expect.stringMatching(/logit 0 at position 1 is -?Infinity/),
    });

    const start = (token: number) => ({ sequence: core.open([], null).sequence, token, sample: greedy });
    const [sick, ...healthy] = [start(bad), start(good), start(good)];
    const [failed, ...stepped] = core.step([sick!, ...healthy]);
    expect(failed).toMatchObject({ failed: { code: "INTERNAL" } });
    expect(stepped).toEqual(healthy.map(() => ({ drawn: [{ token: firsts[good] }], sealed: [] })));
    expect(() => core.boundary(sick!.sequence)).toThrow("can only be closed");
    expect(() => core.step([sick!])).toThrow("can only be closed");
    core.shutdown();
  }));

test("a draw that fails behind a draft is told by the step that comes to it: what was drawn before stands, and is counted once", () =>
  inFolder((dir) => {
    const core = overflowing(dir);
    const nothing = new Uint32Array(2);
    const sample = { ...greedy, frequencyPenalty: 1 };
    const begin = () => {
      const { sequence } = core.open([], null);
      core.prefill(sequence, Int32Array.of(1, 2, 3), undefined);
      return sequence;
    };
    const only = (id: number) => (id < 32 ? Uint32Array.of(1 << id, 0) : Uint32Array.of(0, 1 << (id - 32)));
    const sequence = begin();
    const draft = Int32Array.of(5, 6);
    const [first] = core.step([{ sequence, token: 4, sample, draft, allowed: [only(5), nothing, nothing], answer: Int32Array.of(4) }]);
    const plain = begin();
    const [alone] = core.step([{ sequence: plain, token: 4, sample, allowed: [only(5)], answer: Int32Array.of(4) }]);
    expect(first).toEqual(alone);
    expect(core.boundary(sequence)).toEqual(core.boundary(plain));
    const next = (which: typeof sequence) => core.step([{ sequence: which, token: 5, sample, allowed: [only(7)] }]);
    expect(next(sequence)).toEqual(next(plain));
    expect(core.step([{ sequence, token: 7, sample, allowed: [nothing] }])).toMatchObject([{ failed: { code: "INTERNAL" } }]);
    core.shutdown();
  }));

/** t1 with a head whose first row overflows float32 for about half of all hidden states: those with more than 1 in one channel. */
function overflowing(dir: string): EngineCore {
  cpSync(goldenFolder("t1"), dir, { recursive: true });
  const path = join(dir, "model.safetensors");
  const file = readFileSync(path);
  const headerEnd = 8 + Number(file.readBigUInt64LE(0));
  const { "head.weight": head } = JSON.parse(file.toString("utf8", 8, headerEnd)) as Record<string, { data_offsets: [number, number] }>;
  const row = headerEnd + head!.data_offsets[0];
  for (let channel = 0; channel < 32; channel++) file.writeFloatLE(channel === 0 ? 3.4e38 : 0, row + 4 * channel);
  writeFileSync(path, file);
  const options = { mode: "exact", threads: 1, segmentTokens: 128, chunkTokens: 8, batchMax: 4, draftMax: 3, contextTokens: 64 } as const;
  return new EngineCore({ ...options, modelPath: dir });
}

function caught<T>(run: () => T): T | Error {
  try {
    return run();
  } catch (error) {
    return error as Error;
  }
}
