import OpenAI from "openai";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Bus } from "../../services/shared/bus/contract.ts";
import { busFromConfig } from "../../services/shared/bus/from-config.ts";
import { loadConfig } from "../../services/shared/runtime/config.ts";
import { playText, promptOf, type TestApi, testApi } from "../support/api.ts";
import { NatsServer } from "../support/nats.ts";

let nats: NatsServer;
let bus: Bus;
let api: TestApi;
let client: OpenAI;

beforeAll(async () => {
  nats = await NatsServer.start();
  const settings = loadConfig({ LONGSHORE_NATS_URL: nats.url });
  bus = busFromConfig(settings);
  await bus.ready(60_000);
  api = await testApi({}, bus);
  client = new OpenAI({ baseURL: `${api.url}/v1`, apiKey: "none", maxRetries: 0 });
});
afterAll(async () => {
  await api.close();
  await bus.close();
  await nats.stop();
});

test("what replicas know of a response is in the record: a new one, after the server was killed, goes on where the old one was", async () => {
  const input = "container ".repeat(3_000);
  const { id } = await client.responses.create({ model: "yardlog", input, instructions: "i".repeat(30_000), background: true });
  const stream = await client.responses.retrieve(id, { stream: true });
  const reader = stream[Symbol.asyncIterator]();
  const seen = [(await reader.next()).value, (await reader.next()).value];
  await api.close();
  await nats.kill();
  await nats.restart();
  api = await testApi({}, bus);
  client = new OpenAI({ baseURL: `${api.url}/v1`, apiKey: "none", maxRetries: 0 });
  await playText(api, "In bay 42.");
  const rest = [];
  for await (const event of await client.responses.retrieve(id, { stream: true, starting_after: 1 })) rest.push(event);
  expect([...seen, ...rest].map(({ sequence_number }) => sequence_number)).toEqual([...seen, ...rest].map((_, i) => i));
  expect(rest.at(-1)).toMatchObject({ type: "response.completed", response: { output: [{ content: [{ text: "In bay 42." }] }] } });
  const next = client.responses.create({ model: "yardlog", previous_response_id: id, input: "And?" });
  expect(await promptOf(api, await playText(api, "Yes."))).toContain(`${input}<｜Assistant｜></think>In bay 42.`);
  await next;
  await client.responses.delete(id);
  await expect(client.responses.retrieve(id)).rejects.toMatchObject({ status: 404 });
});
