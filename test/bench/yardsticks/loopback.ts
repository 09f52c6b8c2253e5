import { fork } from "node:child_process";
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { fileURLToPath } from "node:url";
import { secondsOf } from "../bench.ts";

/** Bytes per second from another process over loopback TCP into one buffer of ours. */
export async function loopbackRate(bytes: number): Promise<number> {
  const sender = fork(fileURLToPath(import.meta.url), [String(bytes)]);
  try {
    const [port] = (await once(sender, "message")) as [number];
    const seconds = await secondsOf(() => receive(port, bytes));
    return bytes / seconds;
  } finally {
    sender.kill();
  }
}

async function receive(port: number, bytes: number): Promise<void> {
  let left = bytes;
  const buffer = Buffer.allocUnsafeSlow(CHUNK_BYTES);
  await new Promise<void>((resolve, reject) => {
    const take = (count: number) => {
      left -= count;
      if (left <= 0) resolve();
      return true;
    };
    const socket = connect({ port, host: "127.0.0.1", onread: { buffer, callback: take } });
    socket.once("error", reject).once("close", () => (left > 0 ? reject(new Error("the sender ended early")) : resolve()));
  });
}

const CHUNK_BYTES = 1_048_576;

/** The other process: sends to the first who comes. */
function send(bytes: number): void {
  const chunk = Buffer.alloc(CHUNK_BYTES, 7);
  const pour = (socket: Socket, left: number): void => {
    while (left > 0) {
      const more = socket.write(chunk);
      left -= chunk.length;
      if (!more) {
        socket.once("drain", () => pour(socket, left));
        return;
      }
    }
    socket.end();
  };
  const server = createServer((socket) =>
    pour(
      socket.on("error", () => {}),
      bytes,
    ),
  );
  server.listen(0, "127.0.0.1", () => process.send?.((server.address() as { port: number }).port));
}

if (process.send !== undefined && process.argv[1] === fileURLToPath(import.meta.url)) send(Number(process.argv[2]));
