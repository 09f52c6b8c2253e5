import { readFileSync } from "node:fs";
import http2 from "node:http2";
import { resolve } from "node:path";
import * as grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { afterAll, beforeAll, expect, test } from "vitest";
import { playJob, type Script, type TestApi, testApi } from "../../support/api.ts";
import { ask, call, clientOf, closeClients, jobsAt, type Message, protoOptions, updatesOf } from "../../support/grpc.ts";

let api: TestApi;

beforeAll(async () => {
  api = await testApi({ grpcPort: 0 });
});
afterAll(async () => {
  closeClients();
  await api.close();
});

test("reflection names the service and describes it", async () => {
  const definition = loadSync(resolve("node_modules/@grpc/reflection/build/proto/grpc/reflection/v1/reflection.proto"), protoOptions);
  const reflection = clientOf(definition, "grpc.reflection.v1.ServerReflection", api.grpc!);
  const stream = reflection.ServerReflectionInfo!() as grpc.ClientDuplexStream<Message, Message>;
  const answers = updatesOf(stream);
  stream.write({ list_services: "" });
  stream.write({ file_containing_symbol: "longshore.v1.Jobs" });
  stream.end();
  const [listed, described] = (await answers) as unknown as [Message, Message];
  expect(listed).toMatchObject({ list_services_response: { service: [{ name: "longshore.v1.Jobs" }, { name: "longshore.v1.Batches" }] } });
  const { file_descriptor_proto: files } = described.file_descriptor_response as { file_descriptor_proto: Buffer[] };
  expect(Buffer.concat(files).includes("SubmitRequest")).toBe(true);
});

test("who takes nothing of a large answer is cut off within it; who reads it has it", async () => {
  const hasty = await testApi({ grpcPort: 0, heartbeatMs: 300 }, api.bus);
  const text = "Container rustic-tulip is stowed in bay 42. ".repeat(6_000);
  const client = jobsAt(api.grpc!);
  const { id } = (await call(client, "Submit", { ...ask, max_tokens: 100_000 })) as { id: string };
  const [first, ...rest] = await api.tokenizer.encode(text);
  const end: Script["end"] = async (claim) => {
    for (let at = 0; at < rest.length; at += 8_000) await claim.append({ type: "tokens", first: at + 1, ids: rest.slice(at, at + 8_000) });
    const usage = { promptTokens: 1, completionTokens: rest.length + 1, cachedTokens: 0 };
    await claim.append({ type: "finished", reason: "stop", usage });
  };
  await playJob(api.bus, "yardlog", { ids: [first!], end });
  const { answer } = (await call(client, "Get", { id })) as { answer: { content: string } };
  expect(answer.content === text).toBe(true);
  const session = http2.connect(`http://${hasty.grpc}`);
  const stream = session.request({
    ":method": "POST",
    ":path": "/longshore.v1.Jobs/Get",
    "content-type": "application/grpc",
    te: "trailers",
  });
  stream.on("error", () => {});
  const asked = Buffer.from(`\n${String.fromCharCode(id.length)}${id}`); // its first field
  stream.end(Buffer.concat([Buffer.from([0, 0, 0, 0, asked.length]), asked]));
  await new Promise((resolve) => stream.once("close", resolve));
  expect(stream.rstCode).toBe(http2.constants.NGHTTP2_ENHANCE_YOUR_CALM);
  session.destroy();
  await hasty.close();
});

test("over TLS, when the API has a certificate", async () => {
  const safe = await testApi({ grpcPort: 0, tlsCertFile: "test/support/tls/cert.pem", tlsKeyFile: "test/support/tls/key.pem" }, api.bus);
  try {
    const credentials = grpc.credentials.createSsl(readFileSync("test/support/tls/cert.pem"));
    const { id } = await call(jobsAt(safe.grpc!, credentials), "Submit", ask);
    expect(await call(jobsAt(api.grpc!), "Cancel", { id })).toMatchObject({ id, status: "JOB_STATUS_CANCELLED" });
  } finally {
    await safe.close();
  }
});
