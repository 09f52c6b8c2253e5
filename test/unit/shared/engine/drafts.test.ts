import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Drawn, Sampling, SequenceId, StepInput } from "../../../../services/shared/engine/engine.ts";
import { EngineCore } from "../../../../services/shared/engine/native/core.ts";
import { openWeightlessEngine } from "../../../../services/shared/engine/weightless/weightless.ts";
import { type Random, seededRandom } from "../../../../services/shared/runtime/random.ts";
import { availablePaths, digest, goldenFolder, slowPaths } from "../../../support/timeline.ts";

// A draft changes no bit (I7): not the draws, not the segments, not what the sequence goes on from.

const seed = Number(process.env.SEED ?? 20261130);
const sampling: Sampling = { temperature: 1, topP: 0.95, topK: 0, minP: 0, seed: 11n, topLogprobs: 2, frequencyPenalty: 0.3 };
const TOKENS = 60;

/** Rings of 4 and 8 slots in t1, of 8 and 128 in t2: three and seven tokens can be taken back. */
const models = [
  { name: "t1", vocab: 48, segmentTokens: 8, draftMax: 3, promptTokens: 13 },
  { name: "t2", vocab: 192, segmentTokens: 128, draftMax: 7, promptTokens: 100 },
];

/** Slow paths see the small model. */
const runs = availablePaths().flatMap((kernelPath) =>
  models.filter(({ name }) => name === "t1" || !slowPaths.includes(kernelPath)).map((model) => ({ kernelPath, ...model })),
);

describe.each(runs)("$name on $kernelPath", ({ kernelPath, name, vocab, segmentTokens, draftMax, promptTokens }) => {
  let core: EngineCore;
  beforeAll(() => {
    const options = { mode: "serving", threads: 2, chunkTokens: 128, batchMax: 32, draftMax: 100 } as const;
    core = new EngineCore({ ...options, modelPath: goldenFolder(name), kernelPath, segmentTokens });
  });
  afterAll(() => core.shutdown());

  test(`drafts that are right, wrong, or right for a while, SEED=${seed}`, () => {
    expect(core.info.draftMax).toBe(draftMax);
    const random = seededRandom(seed);
    const answers = [1, 2, 3].map((salt) => {
      const answer = new Answer(core, prompt(random, promptTokens + salt, vocab));
      while (answer.drawn.length < TOKENS) answer.take(core.step([answer.input([])]));
      return answer;
    });
    const again = answers.map(({ prompt }) => new Answer(core, prompt));
    let steps = 0;
    for (; again.some(({ drawn }) => drawn.length < TOKENS); steps++) {
      const going = again.filter(({ drawn }) => drawn.length < TOKENS);
      const inputs = going.map((answer) => {
        const after = answers[again.indexOf(answer)]!.drawn.slice(answer.drawn.length);
        return answer.input(partlyRight(random, after, draftMax, vocab));
      });
      const results = core.step(inputs);
      for (const [i, answer] of going.entries()) answer.take([results[i]!]);
    }
    for (const [i, answer] of again.entries()) expect(answer.state(), `answer ${i}`).toEqual(answers[i]!.state());
    expect(steps).toBeLessThan(TOKENS);
  });
});

test("a step takes no longer draft than can be taken back, and must know what may be drawn behind it", () => {
  const options = { mode: "serving", threads: 1, chunkTokens: 16, batchMax: 4, draftMax: 2 } as const;
  const core = new EngineCore({ ...options, modelPath: goldenFolder("t1"), segmentTokens: 8 });
  const { sequence } = core.open([], null);
  const input = { sequence, token: 1, sample: sampling };
  const draft = (length: number) => new Int32Array(length);
  expect(() => core.step([{ ...input, draft: draft(3) }])).toThrow("a draft has at most 2 tokens, not 3");
  expect(() => core.step([{ ...input, draft: draft(4) }])).toThrow("a step has 1 to 4 tokens, not 5");
  expect(() => core.step([{ ...input, draft: Int32Array.of(48) }])).toThrow("token 48 is not in the vocabulary of 48");
  expect(() => core.step([{ ...input, draft: draft(1), allowed: [null] }])).toThrow("told at 1 places, and a draft of 1 tokens has 2");
  core.shutdown();
});

test("the weightless engine draws with a draft what it draws without", async () => {
  const engine = openWeightlessEngine({ vocabSize: 50, segmentTokens: 8, replayTokens: 16 });
  const random = seededRandom(seed);
  const ids = prompt(random, 20, 50);
  const open = async () => {
    const { sequence } = await engine.open({ segments: [], boundary: null });
    return { sequence, first: (await engine.prefill(sequence, ids, { sample: sampling })).token! };
  };
  const generate = async (draft: (left: readonly number[]) => Int32Array, known: readonly number[]) => {
    const { sequence, first } = await open();
    const tokens = [first];
    const sealed: string[] = [];
    while (tokens.length < TOKENS) {
      const [result] = await engine.step([{ sequence, token: tokens.at(-1)!, sample: sampling, draft: draft(known.slice(tokens.length)) }]);
      if (result === undefined || "failed" in result) throw new Error("a step failed");
      tokens.push(...result.drawn.map(({ token }) => token));
      sealed.push(...result.sealed.map(({ index, payload }) => `${index} ${digest(payload.bytes)}`));
    }
    return { tokens, sealed, boundary: digest(await engine.boundary(sequence)) };
  };
  const alone = await generate(() => new Int32Array(), []);
  const drafted = await generate(
    (left) =>
      partlyRight(
        random,
        left.map((token) => ({ token })),
        7,
        50,
        TOKENS,
      ),
    alone.tokens,
  );
  expect(drafted).toEqual(alone);
});

const prompt = (random: Random, length: number, vocab: number): Int32Array => Int32Array.from({ length }, () => random.u32() % vocab);

/** What follows, right up to a random place, and no further than that it is known. */
function partlyRight(random: Random, after: readonly Drawn[], max: number, vocab: number, known = after.length): Int32Array {
  const length = Math.min(random.u32() % (max + 1), Math.max(0, Math.min(known, after.length) - 1));
  const right = random.u32() % 2 === 0 ? length : random.u32() % (max + 1);
  return Int32Array.from({ length }, (_, i) => (after[i]!.token + (i < right ? 0 : 1 + (random.u32() % (vocab - 1)))) % vocab);
}

/** One answer, and all that can be seen of its sequence. */
class Answer {
  readonly prompt: Int32Array;
  readonly drawn: Drawn[] = [];
  readonly #core: EngineCore;
  readonly #sequence: SequenceId;
  readonly #sealed: string[] = [];
  #first = true;

  constructor(core: EngineCore, prompt: Int32Array) {
    this.#core = core;
    this.prompt = prompt;
    this.#sequence = core.open([], null).sequence;
    const { token, logprobs, sealed } = core.prefill(this.#sequence, prompt, sampling);
    this.drawn.push({ token: token!, ...(logprobs && { logprobs }) });
    this.#keep(sealed);
  }

  input(draft: ArrayLike<number>): StepInput {
    const answer = this.#first ? { answer: Int32Array.from(this.drawn, ({ token }) => token) } : {};
    this.#first = false;
    return { sequence: this.#sequence, token: this.drawn.at(-1)!.token, sample: sampling, draft: Int32Array.from(draft), ...answer };
  }

  take([result]: ReturnType<EngineCore["step"]>): void {
    if (result === undefined || "failed" in result) throw result?.failed ?? new Error("a step answers for every sequence");
    this.drawn.push(...result.drawn);
    this.#keep(result.sealed);
  }

  state() {
    return { drawn: this.drawn, sealed: this.#sealed, boundary: digest(this.#core.boundary(this.#sequence)) };
  }

  #keep(sealed: ReturnType<EngineCore["prefill"]>["sealed"]): void {
    for (const { index, payload } of sealed) {
      this.#sealed.push(`${index} ${digest(payload.bytes)}`);
      payload.release();
    }
  }
}
