import { once } from "node:events";
import http2 from "node:http2";
import * as grpc from "@grpc/grpc-js";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { watchTaking } from "../../../services/api/grpc/transport.ts";

const MS = 30_000;
/** Of a stream, of which a client that reads nothing is sent 64 KiB. */
const BYTES = 700_000;
/** Messages it may come in, each with a head of five bytes. */
const MANY = 700;
let server: grpc.Server;
let session: http2.ClientHttp2Session;

beforeEach(async () => {
  server = new grpc.Server({
    interceptors: [
      (_, call) => {
        watchTaking(call, MS);
        return new grpc.ServerInterceptingCall(call);
      },
    ],
  });
  const same = (bytes: Buffer) => bytes;
  const codec = { requestSerialize: same, requestDeserialize: same, responseSerialize: same, responseDeserialize: same };
  const method = (path: string) => ({ path, requestStream: false, responseStream: true, ...codec });
  const saying = (messages: number) => (call: grpc.ServerWritableStream<Buffer, Buffer>) => {
    for (let i = 0; i < messages; i++) call.write(Buffer.alloc(BYTES / messages));
    call.end();
  };
  server.addService({ one: method("/x/One"), many: method("/x/Many") }, { one: saying(1), many: saying(MANY) });
  const bind = (done: (port: number) => void) =>
    server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (_, port) => done(port));
  session = http2.connect(`http://127.0.0.1:${await new Promise<number>(bind)}`);
  await once(session, "remoteSettings");
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
});
afterEach(() => {
  vi.useRealTimers();
  session.destroy();
  server.forceShutdown();
});

async function watch(path = "/x/One"): Promise<http2.ClientHttp2Stream> {
  const headers = { ":method": "POST", ":path": path, "content-type": "application/grpc", te: "trailers" };
  const stream = session.request(headers);
  stream.on("error", () => {});
  stream.end(Buffer.alloc(5));
  await once(stream, "response");
  return stream;
}

/** Reads so many bytes, or what there is before the end. */
async function take(stream: http2.ClientHttp2Stream, bytes: number): Promise<number> {
  for (let taken = 0; ; ) {
    taken += (stream.read() as Buffer | null)?.length ?? 0;
    if (taken >= bytes || stream.readableEnded || stream.closed) return taken;
    await new Promise(setImmediate);
  }
}

test.each([
  ["one large message", "/x/One", 1],
  ["many messages", "/x/Many", MANY],
])("who takes %s a little at a time gets all of it, however long it takes", async (_, path, messages) => {
  const stream = await watch(path);
  let taken = 0;
  let elapsedMs = 0;
  while (!stream.readableEnded && !stream.closed) {
    taken += await take(stream, 65_536);
    vi.advanceTimersByTime(MS / 4);
    elapsedMs += MS / 4;
  }
  expect(elapsedMs).toBeGreaterThan(MS);
  expect([taken, stream.rstCode]).toEqual([BYTES + 5 * messages, http2.constants.NGHTTP2_NO_ERROR]);
});

test("who stops within a message is cut off, whatever else the connection carries", async () => {
  const stream = await watch();
  await take(stream, 100_000);
  const closed = new Promise((resolve) => stream.once("close", resolve));
  for (let steps = 0; !stream.closed; steps++) {
    const other = await watch();
    expect(await take(other, BYTES + 5)).toBe(BYTES + 5);
    vi.advanceTimersByTime(MS / 2);
    await new Promise(setImmediate);
    expect(steps).toBeLessThan(100);
  }
  await closed;
  expect(stream.rstCode).toBe(http2.constants.NGHTTP2_ENHANCE_YOUR_CALM);
});
