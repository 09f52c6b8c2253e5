import { AsyncLocalStorage } from "node:async_hooks";
import { subscribe } from "node:diagnostics_channel";
import type { Socket } from "node:net";
import type { NatsConnection } from "nats";

const current = new AsyncLocalStorage<Tries>();
subscribe("net.client.socket", (message) => current.getStore()?.opened((message as { readonly socket: Socket }).socket));

/**
 * The sockets of a connection that is not there yet. A failed try leaves its socket open if a server accepts it and
 * says nothing, as a frozen one does (nats.js 2.29 closes only the socket it is connected by): one every few seconds,
 * until none can be opened, and no process ends while it has one.
 */
export class Tries {
  readonly #sockets = new Set<Socket>();
  #trying = false;

  /** Runs `connect`, and sees each socket that it opens, in later tries too. */
  of(connect: () => Promise<NatsConnection>): Promise<NatsConnection> {
    return current.run(this, connect);
  }

  /** A try begins: those before failed, and their sockets are closed. */
  begin(): void {
    this.over();
    this.#trying = true;
  }

  /** The last try succeeded: its socket is in use. */
  succeeded(): void {
    this.#trying = false;
    this.#sockets.clear();
  }

  /** No try will succeed: closes their sockets. */
  over(): void {
    this.#trying = false;
    for (const socket of this.#sockets) socket.destroy();
    this.#sockets.clear();
  }

  /** Sockets that callbacks of an existing connection open are not ours. */
  opened(socket: Socket): void {
    if (this.#trying) this.#sockets.add(socket);
  }
}
