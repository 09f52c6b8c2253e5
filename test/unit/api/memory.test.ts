import { once } from "node:events";
import { connect } from "node:net";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { expect, test } from "vitest";
import { testApi } from "../../support/api.ts";

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
