import { once } from "node:events";
import { createServer, type Socket } from "node:net";

/** In Redis's place: says PONG to the greeting of each connection, and hands on all that comes. `stop` resolves when every connection has ended. */
export async function impostor(serve: (socket: Socket, data: Buffer) => void) {
  const fake = createServer((socket) => {
    socket.on("error", () => {});
    socket.on("data", (data) => {
      if (data.includes("PING")) socket.write("+PONG\r\n");
      serve(socket, data);
    });
  });
  await once(fake.listen(0, "127.0.0.1"), "listening");
  const { port } = fake.address() as { port: number };
  return { port, url: `redis://127.0.0.1:${port}`, stop: () => new Promise<void>((resolve) => fake.close(() => resolve())) };
}

/** In the place of a node of a cluster: lets everybody in, and answers every other command, as its words, by `answer`, now or later. */
export async function fakeNode(answer: (command: readonly string[], node: FakeNode) => string | Buffer | Promise<Buffer>) {
  const node: FakeNode = { port: 0, commands: [], sockets: new Set() };
  const fake = await impostor((socket, data) => {
    node.sockets.add(socket);
    for (const command of commandsIn(data)) {
      if (command[0] === "PING") continue; // answered
      if (command[0] === "client") socket.write("+OK\r\n");
      else if (command[0] === "info") socket.write(bulkOf("redis_version:7.0.15\r\nloading:0"));
      else {
        node.commands.push(command);
        const reply = answer(command, node);
        if (reply instanceof Promise) void reply.then((late) => socket.write(late));
        else socket.write(reply);
      }
    }
  });
  node.port = fake.port;
  return Object.assign(node, fake);
}

interface FakeNode {
  port: number;
  /** What it was asked, in order. */
  readonly commands: (readonly string[])[];
  readonly sockets: Set<Socket>;
}

export const bulkOf = (text: string): string => `$${Buffer.byteLength(text)}\r\n${text}\r\n`;

/** Of commands that come whole, without bytes. */
function commandsIn(data: Buffer): string[][] {
  const words = data.toString("latin1").split("\r\n");
  const commands: string[][] = [];
  for (let at = 0; at < words.length - 1; ) {
    const count = Number(words[at]!.slice(1));
    commands.push(Array.from({ length: count }, (_, i) => words[at + 2 * i + 2]!));
    at += 1 + 2 * count;
  }
  return commands;
}
