import { once } from "node:events";
import { connect } from "node:net";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { expect, test } from "vitest";
import { surfaceOf } from "../../../services/api/answer/surfaces.ts";
import { filesOf } from "../../../services/api/files/files.ts";
import { wholeOf } from "../../../services/api/http/respond.ts";
import { openServedModel } from "../../../services/api/model.ts";
import type { Bus } from "../../../services/shared/bus/contract.ts";
import { openBus } from "../../../services/shared/bus/open.ts";
import { loadConfig } from "../../../services/shared/runtime/config.ts";
import { testApi } from "../../support/api.ts";
import { held, never, request } from "../../support/bus.ts";
import { overriding } from "../../support/overriding.ts";

setFlagsFromString("--expose_gc");
const collect = runInNewContext("gc") as () => void;
const heapBytes = () => {
  collect();
  return process.memoryUsage().heapUsed;
};

test("what was asked is in the record, and not held beside it while it is answered", async () => {
  const api = await testApi();
  const asked = { model: "yardlog", messages: [{ role: "user", content: "Where?" }], stream: true, unknown: "x".repeat(4_000_000) };
  const body = Buffer.from(JSON.stringify(asked));
  const head = `POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n`;
  const ask = async () => {
    const socket = connect(Number(new URL(api.url).port), "127.0.0.1");
    socket.write(head);
    socket.write(body);
    expect(String((await once(socket, "data"))[0])).toContain("HTTP/1.1 200");
    return socket;
  };
  const waiting = [await ask()];
  const before = heapBytes();
  while (waiting.length < 11) waiting.push(await ask());
  expect(heapBytes() - before, "held for ten requests").toBeLessThan(2 * body.length);
  for (const socket of waiting) socket.destroy();
  await api.close();
});

test("of an answer with log probabilities that is waited for, each is held in less than 40 bytes, and shown as it was", async () => {
  const [tokens, alternatives] = [2_048, 20];
  const bus = openBus({ url: "memory:" });
  const model = await openServedModel(loadConfig({}));
  const view = { surface: "chat", created: 1, thinking: false, tools: false, release: model.release } as const;
  await bus.log.submit("job_a", request({ view: JSON.stringify(view) }));
  const top = Array.from({ length: alternatives }, (_, i) => ({ id: 40 + i, logprob: -1.5 - i }));
  const score = { logprob: -0.5, top };
  const prefill = held(await bus.log.claim("job_a", "prefill", "w"));
  await prefill.append({ type: "handed_over", token: 40, boundary: 3, cached: 0, recomputed: 3, logprobs: score });
  const decode = held(await bus.log.claim("job_a", "decode", "w"));
  for (let first = 1; first < tokens; first++) await decode.append({ type: "tokens", first, ids: [40], logprobs: [score] });

  const surface = surfaceOf({ jobId: "job_a", model: model.name, view, fingerprint: "f" }, false);
  let seen = 0;
  const bytesOf = (id: number) => {
    seen++;
    return model.tokenizer.bytesOf(id);
  };
  const deps = { bus, model: { ...model, tokenizer: overriding(model.tokenizer, { bytesOf }) }, stopping: never };
  const before = heapBytes();
  const answer = wholeOf(deps, [{ jobId: "job_a", surface }], never);
  await expect.poll(() => seen, { timeout: 30_000 }).toBe(tokens * (2 + alternatives)); // the text's, the token's and the others'
  expect((heapBytes() - before) / (tokens * (1 + alternatives)), "bytes each").toBeLessThan(40);
  await decode.append({ type: "finished", reason: "stop", usage: { promptTokens: 3, completionTokens: tokens, cachedTokens: 0 } });
  const spelled = (id: number) => Buffer.from(model.tokenizer.bytesOf(id));
  const shown = (id: number, logprob: number) => ({ token: String(spelled(id)), logprob, bytes: [...spelled(id)] });
  const { choices } = (await answer).body as { choices: { message: object; logprobs: { content: object[] } }[] };
  expect(choices[0]!.message).toMatchObject({ content: String(spelled(40)).repeat(tokens) });
  expect(choices[0]!.logprobs.content).toHaveLength(tokens);
  expect(choices[0]!.logprobs.content.at(-1)).toEqual({
    ...shown(40, -0.5),
    top_logprobs: top.map(({ id, logprob }) => shown(id, logprob)),
  });
});

test("a list of files holds of each what it tells, and not where its parts lie", async () => {
  const bus = openBus({ url: "memory:" });
  const count = 1_000;
  const parts = Array.from({ length: 200 }, (_, i) => ({ key: `part_${i}`, bytes: 1_048_576 }));
  const file = { filename: "f", purpose: "batch", bytes: 209_715_200, createdAt: 1, expiresAt: 1e11, parts };
  const text = (id: string) => JSON.stringify({ id, ...file });
  const behind: Bus["documents"]["behind"] = async (kind, tenant, after, max) =>
    Array.from({ length: kind === "file" ? Math.min(max, count - after) : 0 }, (_, i) => {
      const id = `file-${after + i}`;
      return { tenant: tenant!, id, text: text(id), place: after + i + 1, storedMs: 1 };
    });
  const before = heapBytes();
  const files = await filesOf({ ...bus, documents: overriding(bus.documents, { behind, end: async () => count }) }, "t");
  expect(heapBytes() - before).toBeLessThan(2_000 * count);
  expect([files.length, files.at(-1)]).toEqual([count, expect.objectContaining({ id: `file-${count - 1}`, bytes: file.bytes })]);
});
