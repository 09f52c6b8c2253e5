import { Ajv2020 } from "ajv/dist/2020.js";
import { afterEach, expect, test } from "vitest";
import { seededRandom } from "../../../services/shared/runtime/random.ts";
import { alone } from "../../support/alone.ts";
import { logprobsOf } from "../../support/answers.ts";
import { erasableStore } from "../../support/forgetful-store.ts";
import { EOS, promptIds, textOf } from "../../support/model.ts";
import { testSeed } from "../../support/seed.ts";
import { requestOf, type TestCluster, testCluster } from "../../support/workers.ts";

let cluster: TestCluster;
afterEach(() => cluster.close());

const schemas = [
  { type: "object" },
  {
    type: "object",
    properties: {
      name: { type: "string", format: "date-time" },
      kind: { enum: ["large", "small", 5, null] },
      sizes: { type: "array", items: { type: "integer", minimum: -3, maximum: 70 }, minItems: 2, maxItems: 9 },
      more: { anyOf: [{ type: "boolean" }, { $ref: "#/$defs/pair" }] },
    },
    required: ["name", "kind", "sizes", "more"],
    additionalProperties: false,
    $defs: { pair: { type: "array", prefixItems: [{ type: "string" }, { type: "null" }], items: false, minItems: 2 } },
  },
  { type: "array", items: { type: "string", format: "ipv4" }, maxItems: 6 },
].map((schema) => JSON.stringify(schema));

test("an answer is held to its schema, and is that of the engine alone, whoever dies and whatever the store loses", async () => {
  const random = seededRandom(testSeed());
  const whole = (max: number) => random.u32() % max;
  const { store, erase } = erasableStore();
  cluster = testCluster({ store });
  const slow = { engine: { stepMs: 3 } };
  cluster.start("prefill", slow);
  const victim = cluster.start("decode", slow);
  const requests = Array.from({ length: 9 }, (_, i) => ({
    prompt: { ids: promptIds(100 + whole(300), whole(3)) },
    maxTokens: 150,
    sampling: {
      ...{ temperature: whole(2), topP: i % 2 === 0 ? 1 : 0.9, topK: 0, minP: 0, seed: BigInt(whole(99)) },
      ...(i % 3 === 0 && { topLogprobs: 2 }),
    },
    ...(i < 8 && { constraint: { schema: schemas[i % schemas.length]! } }),
  }));
  const jobs = await Promise.all(requests.map((request) => cluster.submit(request)));
  await cluster.until(jobs[0]!, ({ tokenCount, event }) => tokenCount >= 20 || event.type === "finished");
  victim.life.kill();
  erase();
  cluster.start("decode", slow);
  for (const [i, jobId] of jobs.entries()) {
    const expected = await alone(requestOf(requests[i]!));
    const { ids, end } = await cluster.answer(jobId);
    expect(ids, `job ${i}`).toEqual(expected.ids);
    expect(end, `job ${i}`).toMatchObject({ type: "finished", reason: expected.reason });
    expect(logprobsOf(await cluster.events(jobId)), `job ${i}`).toEqual(expected.logprobs);
    const { constraint } = requests[i]!;
    if (constraint !== undefined && expected.reason === "stop") expectValid(constraint.schema, textOf(ids), `job ${i}`);
  }
});

test("the schema begins behind the token that ends the reasoning", async () => {
  cluster = testCluster();
  cluster.start("prefill");
  cluster.start("decode");
  const schema = JSON.stringify({ enum: ["yes", "no"] });
  const after = 7;
  const bias = { ids: [after], values: [2] };
  const sampling = { temperature: 1, topP: 1, topK: 0, minP: 0, seed: 3n, bias };
  const request = { prompt: { ids: promptIds(60) }, maxTokens: 300, sampling, constraint: { schema, after } };
  const { ids, end } = await cluster.answer(await cluster.submit(request));
  expect(end).toMatchObject({ type: "finished", reason: "stop" });
  const at = ids.indexOf(after);
  expect(at, "something was thought").toBeGreaterThan(0);
  expect(JSON.parse(textOf(ids.slice(at + 1)))).toMatch(/^(yes|no)$/);
});

test("an answer that may begin otherwise is a value of its schema or has that beginning, whoever takes it over amid it", async () => {
  const instead = promptIds(40, 9).slice(0, 40);
  const slow = { engine: { stepMs: 3 } };
  cluster = testCluster();
  cluster.start("prefill", slow);
  const victim = cluster.start("decode", slow);
  const constraint = { schema: schemas[1]!, instead: [...instead] };
  const drawn = (values: number) => ({
    temperature: 1,
    topP: 1,
    topK: 0,
    minP: 0,
    seed: 5n,
    bias: { ids: [instead[0]!], values: [values] },
  });
  const requests = [100, -100].map((value) => ({ prompt: { ids: promptIds(90) }, maxTokens: 200, sampling: drawn(value), constraint }));
  const jobs = await Promise.all(requests.map((request) => cluster.submit(request)));
  await cluster.until(jobs[0]!, ({ tokenCount }) => tokenCount >= 10);
  victim.life.kill();
  cluster.start("decode", slow);
  const [called, value] = await Promise.all(jobs.map((jobId) => cluster.answer(jobId)));
  expect(called!.ids.slice(0, instead.length)).toEqual(constraint.instead);
  expect(called!.ids).toEqual((await alone(requestOf(requests[0]!))).ids);
  expect(called!.ids.length).toBeGreaterThan(instead.length); // and goes on as it likes
  expect(value!.ids).toEqual((await alone(requestOf(requests[1]!))).ids);
  if (value!.end.type === "finished" && value!.end.reason === "stop") expectValid(constraint.schema, textOf(value!.ids), "the value");
});

test("a stop id is drawn exactly where the schema is met, and max_tokens may cut it short", async () => {
  cluster = testCluster();
  cluster.start("prefill");
  cluster.start("decode");
  const sampling = { temperature: 0, topP: 1, topK: 0, minP: 0, seed: 0n, bias: { ids: [EOS], values: [100] } };
  const constraint = { schema: JSON.stringify({ type: "array", items: { const: 12 }, minItems: 3 }) };
  const request = { prompt: { ids: promptIds(60) }, maxTokens: 100, sampling, constraint };
  const whole = await cluster.answer(await cluster.submit(request));
  expect(whole.end).toMatchObject({ reason: "stop" });
  expect(JSON.parse(textOf(whole.ids)).slice(0, 3)).toEqual([12, 12, 12]);
  const cut = await cluster.answer(await cluster.submit({ ...request, maxTokens: 4 }));
  expect(cut.end).toMatchObject({ type: "finished", reason: "length" });
  expect(cut.ids).toEqual(whole.ids.slice(0, 4));
});

test("a schema that cannot be met fails its own job, and nobody else's", async () => {
  cluster = testCluster();
  cluster.start("prefill");
  cluster.start("decode");
  const endless = JSON.stringify({
    type: "object",
    properties: { a: { $ref: "#/$defs/a" } },
    required: ["a"],
    $defs: { a: { $ref: "#/$defs/a" } },
  });
  const jobs = [endless, '{"type":"string","pattern":"(?=x)"}', schemas[2]!].map((schema) => cluster.submit({ constraint: { schema } }));
  const [stuck, unknown, fine] = await Promise.all((await Promise.all(jobs)).map((jobId) => cluster.answer(jobId)));
  expect(stuck!.end).toMatchObject({
    type: "failed",
    code: "INVALID_REQUEST",
    message: expect.stringContaining("no value satisfies this schema"),
  });
  expect(unknown!.end).toMatchObject({ type: "failed", code: "INVALID_REQUEST", message: expect.stringContaining("pattern") });
  expect(fine!.end).toMatchObject({ type: "finished" });
});

const ajv = new Ajv2020({ strict: false, validateFormats: false });
function expectValid(schema: string, text: string, why: string): void {
  const valid = ajv.compile(JSON.parse(schema));
  expect(valid(JSON.parse(text)), `${why}: ${text}: ${ajv.errorsText(valid.errors)}`).toBe(true);
}
