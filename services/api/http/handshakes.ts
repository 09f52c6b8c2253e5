import type { Socket } from "node:net";
import { Server, type TLSSocket } from "node:tls";

/** Who has not begun TLS by then, or not brought it to its end, is let go. */
export const HANDSHAKE_MS = 10_000;
/** So many may be at it at a time. */
const HANDSHAKES_MAX = 1_024;

/** The connections on which TLS is not there yet. Where there are too many the oldest goes: who means it takes some round trips. */
export class Handshakes {
  readonly #max: number;
  /** Oldest first, by who is at the other end: TLS has a socket of its own. */
  readonly #begun = new Map<string, Socket>();
  readonly #servers = new WeakSet<Server>();

  constructor(max = HANDSHAKES_MAX) {
    this.#max = max;
  }

  /** A server has taken a connection; nothing is done where it speaks no TLS. */
  opened(socket: Socket): void {
    const { server } = socket as Socket & { readonly server?: unknown }; // as Node sets it: gRPC's library shows nobody its server
    if (!(server instanceof Server)) return;
    this.#watch(server);
    const peer = peerOf(socket);
    this.#begun.set(peer, socket);
    socket.once("close", () => {
      if (this.#begun.get(peer) === socket) this.#begun.delete(peer);
    });
    const [oldest] = this.#begun.values();
    if (this.#begun.size > this.#max) oldest?.destroy();
  }

  #watch(server: Server): void {
    if (this.#servers.has(server)) return;
    this.#servers.add(server);
    server.on("secureConnection", (socket: TLSSocket) => this.#begun.delete(peerOf(socket)));
  }
}

const peerOf = ({ localPort, remoteAddress, remotePort }: Socket): string => `${localPort} ${remoteAddress} ${remotePort}`;
