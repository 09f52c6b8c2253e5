import { once } from "node:events";
import { createServer, type Socket } from "node:net";

export interface Impostor {
  readonly url: string;
  /** Resolves when every connection has ended. */
  stop(): Promise<void>;
}

/** In Redis's place: says PONG to the greeting of each connection, and hands on all that comes. */
export async function impostor(serve: (socket: Socket, data: Buffer) => void): Promise<Impostor> {
  const fake = createServer((socket) => {
    socket.on("error", () => {});
    socket.on("data", (data) => {
      if (data.includes("PING")) socket.write("+PONG\r\n");
      serve(socket, data);
    });
  });
  await once(fake.listen(0, "127.0.0.1"), "listening");
  const { port } = fake.address() as { port: number };
  return { url: `redis://127.0.0.1:${port}`, stop: () => new Promise((resolve) => fake.close(() => resolve())) };
}

/** Calls `reply` for each read that is asked for. */
export const forReads =
  (reply: (socket: Socket) => void) =>
  (socket: Socket, data: Buffer): void => {
    for (let left = readsIn(data); left > 0; left--) reply(socket);
  };

export const readsIn = (data: Buffer): number => data.toString("latin1").split("GETEX").length - 1;
