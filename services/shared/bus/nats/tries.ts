import { AsyncLocalStorage } from "node:async_hooks";
import { subscribe } from "node:diagnostics_channel";
import type { Socket } from "node:net";
import type { NatsConnection } from "nats";

const current = new AsyncLocalStorage<Tries>();
subscribe("net.client.socket", (message) => current.getStore()?.opened((message as { readonly socket: Socket }).socket));

/**
 * The sockets of a connection that is not there yet. A try that came to nothing leaves its own behind, open, where a server accepts it and says nothing, as
 * one that is frozen (nats.js 2.29 closes only what it is connected by): one in some seconds, until none can be opened, and no process ends while it has one.
 */
export class Tries {
  readonly #sockets = new Set<Socket>();
  #trying = false;

  /** Each socket that `connect` opens is seen, whenever it tries again. */
  of(connect: () => Promise<NatsConnection>): Promise<NatsConnection> {
    return current.run(this, connect);
  }

  /** Those before came to nothing. */
  begin(): void {
    this.over();
    this.#trying = true;
  }

  /** What was opened last is in use. */
  succeeded(): void {
    this.#trying = false;
    this.#sockets.clear();
  }

  /** None will succeed. */
  over(): void {
    this.#trying = false;
    for (const socket of this.#sockets) socket.destroy();
    this.#sockets.clear();
  }

  /** What callbacks of a connection that is there open is no business of ours. */
  opened(socket: Socket): void {
    if (this.#trying) this.#sockets.add(socket);
  }
}
