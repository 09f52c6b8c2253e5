import { createServer, type Server } from "node:net";
import { ServingError } from "../../shared/runtime/errors.ts";

/** Below those that systems give to whoever asks for any: Linux from 32768 on, others from 49152. */
const PORTS = { first: 20_000, end: 30_000, block: 50 };

const own = ownPorts();

/**
 * A loopback port on which nobody listens, and which nobody is given while this process lives: no second time here, in no other process
 * that asks this function, nor by the system. So it is still free when the process that it is for listens, and while that one is started again.
 */
export async function freePort(): Promise<number> {
  const { value } = await own.next();
  if (value === undefined) throw new ServingError("UNAVAILABLE", `no port from ${PORTS.first} to ${PORTS.end - 1} is free`);
  return value;
}

/** Blocks of ports are a process's own by its listening at the first of each: one alone can, and the system ends that with the process. */
async function* ownPorts(): AsyncGenerator<number, undefined> {
  for (let first = PORTS.first; first < PORTS.end; first += PORTS.block) {
    const guard = await listen(first).catch(() => null);
    if (guard === null) continue;
    guard.unref();
    for (let port = first + 1; port < first + PORTS.block; port++) if (await isFree(port)) yield port;
  }
}

/** Whether a process of ours could listen there now. */
export const isFree = (port: number): Promise<boolean> =>
  listen(port).then(
    (server) => new Promise((resolve) => server.close(() => resolve(true))),
    () => false,
  );

const listen = (port: number): Promise<Server> =>
  new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.destroy());
    server.once("error", reject).listen(port, "127.0.0.1", () => resolve(server));
  });
