import { once } from "node:events";
import http2 from "node:http2";
import type * as grpc from "@grpc/grpc-js";
import { Metadata } from "@grpc/grpc-js";
import { afterAll, expect, test, vi } from "vitest";
import { Making } from "../../../services/api/admission/making.ts";
import { makeKey } from "../../../services/api/keys/key.ts";
import type { Bus } from "../../../services/shared/bus/contract.ts";
import { openBus } from "../../../services/shared/bus/open.ts";
import { type Clock, systemClock } from "../../../services/shared/runtime/clock.ts";
import { Pause } from "../../../services/shared/runtime/pause.ts";
import { testApi } from "../../support/api.ts";
import { ask, call, closeClients, jobsAt } from "../../support/grpc.ts";
import { overriding } from "../../support/overriding.ts";

afterAll(() => {
  vi.restoreAllMocks();
  closeClients();
});

test("who waits under a key for what is being made, and leaves, waits no longer", async () => {
  const record = openBus({ url: "memory:" });
  const [written, begun] = [new Pause(), new Pause()];
  const submit: Bus["log"]["submit"] = async (jobId, request) => {
    begun.end();
    await written.wait(systemClock, 60_000);
    return record.log.submit(jobId, request);
  };
  const { key, secret } = makeKey({ name: "n", tenant: "t", requestsPerMinute: 1, tokensPerMinute: null, createdMs: 0 });
  await record.registry.keepKey(key.id, JSON.stringify(key));
  const endless: Clock = { ...systemClock, after: (ms, act) => systemClock.after(ms === 1_000 ? 60_000 : ms, act) }; // a second of waiting does not pass
  const api = await testApi({ grpcPort: 0 }, { ...record, log: overriding(record.log, { submit }) }, endless);
  const { wait } = Making.prototype;
  const waits = new Promise<{ readonly over: Promise<void> }>((resolve) => {
    vi.spyOn(Making.prototype, "wait").mockImplementation(function (this: Making, ...about) {
      const over = wait.apply(this, about);
      resolve({ over });
      return over;
    });
  });
  const client = jobsAt(api.grpc!);
  const metadata = new Metadata();
  metadata.set("authorization", `Bearer ${secret}`);
  const request = { ...ask, max_tokens: 600, idempotency_key: "once" };
  const begins = begun.wait(systemClock, 20_000);
  const first = call(client, "Submit", request, metadata);
  await begins;
  const second = client.Submit!(request, metadata, () => {}) as grpc.ClientUnaryCall;
  const { over } = await waits;
  second.cancel();
  await over;
  written.end();
  expect(await first).toMatchObject({ status: "JOB_STATUS_QUEUED" });
  await api.close();
}, 30_000);

test("who is amid his message when the process stops hears it before his connection is cut", async () => {
  const api = await testApi({ grpcPort: 0 });
  const session = http2.connect(`http://${api.grpc}`);
  const path = "/longshore.v1.Jobs/Submit";
  const stream = session.request({ ":method": "POST", ":path": path, "content-type": "application/grpc", te: "trailers" });
  stream.write(Buffer.from([0, 0, 1, 0, 0, 1])); // of 65,536 bytes one
  await once(session, "connect");
  await new Promise((resolve) => session.ping(resolve)); // the server has read it
  const answer = once(stream.resume(), "response");
  const stopped = api.close();
  const [headers] = (await answer) as [http2.IncomingHttpHeaders];
  expect(headers).toMatchObject({ "grpc-status": "14", "grpc-message": expect.stringContaining("shutting%20down") });
  await stopped;
  session.destroy();
});
