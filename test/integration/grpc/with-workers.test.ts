import * as grpc from "@grpc/grpc-js";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Served, serveEmbedded } from "../../../services/cli/serve.ts";
import { loadConfig } from "../../../services/shared/runtime/config.ts";
import { silentLog } from "../../../services/shared/runtime/log.ts";
import { decode } from "../../support/decode.ts";
import { ask, batchesAt, call, closeClients, jobsAt, updatesOf } from "../../support/grpc.ts";

let served: Served;

beforeAll(async () => {
  const settings = { LONGSHORE_ENGINE: "weightless", LONGSHORE_PORT: "0", LONGSHORE_GRPC_PORT: "0" };
  served = await serveEmbedded(loadConfig(settings), silentLog);
});
afterAll(async () => {
  closeClients();
  await served.stop();
});

test("an answer is held to the schema that is asked for, and the schema reaches the prompt to the letter", async () => {
  const asking = jobsAt(served.api.grpc!);
  const schema =
    '{"type":"object","properties":{"bay":{"type":"integer","minimum":1,"maximum":99}},"required":["bay"],"additionalProperties":false}';
  const response_format = `{"type":"json_schema","json_schema":{"name":"place","schema":${schema}}}`;
  const updates = await updatesOf(
    asking.Generate!({ ...ask, chat: { ...ask.chat, response_format }, max_tokens: 60, seed: 3, temperature: 1 }),
  );
  const text = updates.flatMap(({ deltas }) => deltas.map(({ content }) => content ?? "")).join("");
  expect(JSON.parse(text)).toEqual({ bay: expect.any(Number) });
  expect(updates.at(-1)).toMatchObject({ finish_reason: "stop" });
  const job = (await served.cluster.bus.log.first(String(updates[0]!.id)))!.event as { request: { prompt: { ids: Int32Array } } };
  expect(decode(served.cluster.opened.tokenizer, job.request.prompt.ids)).toContain('"minimum": 1, "maximum": 99');
});

test("a batch is submitted, got until it is complete, and cannot be cancelled then", async () => {
  const batches = batchesAt(served.api.grpc!);
  const line = (custom_id: string) => ({
    ...{ custom_id, method: "POST", url: "/v1/completions" },
    body: { model: "yardlog", prompt: "Yard log.", max_tokens: 3 },
  });
  const form = new FormData();
  form.set("purpose", "batch");
  form.set("file", new Blob([["a", "b"].map((id) => JSON.stringify(line(id))).join("\n")]), "lines.jsonl");
  const file = (await (await fetch(`${served.api.url}/v1/files`, { method: "POST", body: form })).json()) as { id: string };
  const asked = { input_file_id: file.id, endpoint: "/v1/completions", metadata: { a: "b" }, idempotency_key: "once" };
  const { id, status } = await call(batches, "Submit", asked);
  expect(status).toBe("validating");
  expect(await call(batches, "Submit", asked)).toMatchObject({ id });
  const unkeyed = { ...asked, idempotency_key: "" };
  expect((await call(batches, "Submit", unkeyed)).id).not.toBe((await call(batches, "Submit", unkeyed)).id);
  await expect(call(batches, "Submit", { ...asked, metadata: {} })).rejects.toMatchObject({ code: grpc.status.ALREADY_EXISTS });
  await expect.poll(async () => (await call(batches, "Get", { id })).status, { timeout: 30_000 }).toBe("completed");
  expect(await call(batches, "Get", { id })).toMatchObject({
    ...{ model: "yardlog", input_file_id: file.id, metadata: { a: "b" }, request_counts: { total: 2, completed: 2 } },
    usage: { output_tokens: 6 },
  });
  await expect(call(batches, "Cancel", { id })).rejects.toMatchObject({ code: grpc.status.FAILED_PRECONDITION });
  await expect(call(batches, "Get", { id: "batch_00000000000000000000" })).rejects.toMatchObject({ code: grpc.status.NOT_FOUND });
  await expect(call(batches, "Submit", { input_file_id: file.id })).rejects.toMatchObject({ code: grpc.status.INVALID_ARGUMENT });
  await expect(call(batches, "Submit", { ...asked, input_file_id: "x" })).rejects.toMatchObject({
    details: expect.stringMatching(/input_file_id/),
  });
});
