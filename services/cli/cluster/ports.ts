import { once } from "node:events";
import { createServer, type Server } from "node:net";
import { ServingError } from "../../shared/runtime/errors.ts";

/** Below those that a system gives to whoever asks for any: on Linux they begin at 32768 unless another range is set, elsewhere at 49152. */
const PORTS = { first: 20_000, block: 50, blocks: 200 };

let own = ownPorts();

/**
 * A loopback port on which nobody listens, and which this function gives no second time while this process lives, here or in another process; nor
 * does a system whose range is the usual one. So it is still free when the process that it is for listens, and while that one is started again,
 * unless somebody takes that very port without asking here.
 */
export async function freePort(): Promise<number> {
  const { value } = await own.next().catch((thrown: unknown) => {
    own = ownPorts(); // a generator that threw is at its end
    throw thrown;
  });
  if (value === undefined)
    throw new ServingError("UNAVAILABLE", `no port from ${PORTS.first} to ${PORTS.first + PORTS.block * PORTS.blocks - 1} is free`);
  return value;
}

/** Blocks of ports are a process's own by its listening at the first of each: one alone can, and the system ends that with the process. */
async function* ownPorts(): AsyncGenerator<number, undefined> {
  for (const first of blocksFrom(process.pid)) {
    const guard = await listen(first);
    if (guard === null) continue;
    guard.unref();
    for (let port = first + 1; port < first + PORTS.block; port++) if (await isFree(port)) yield port;
  }
}

/** The first ports of all blocks, and the next process begins with the next: clients of one that was killed may still try the ports it had. */
export const blocksFrom = (pid: number): readonly number[] =>
  Array.from({ length: PORTS.blocks }, (_, i) => PORTS.first + ((pid + i) % PORTS.blocks) * PORTS.block);

/** Whether a process of ours could listen there now. Throws where nobody could say: too many open files, no right to. */
export async function isFree(port: number): Promise<boolean> {
  const server = await listen(port);
  if (server === null) return false;
  await once(server.close(), "close");
  return true;
}

/** Null where somebody listens. */
const listen = (port: number): Promise<Server | null> =>
  new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.destroy());
    server.once("error", (error: NodeJS.ErrnoException) => (error.code === "EADDRINUSE" ? resolve(null) : reject(error)));
    server.listen(port, "127.0.0.1", () => resolve(server));
  });
