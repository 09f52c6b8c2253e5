import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import * as grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type TestApi, testApi } from "../../support/api.ts";
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
