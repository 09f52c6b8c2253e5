import { subscribe, unsubscribe } from "node:diagnostics_channel";
import type { ServerResponse } from "node:http";
import type { Server, Socket } from "node:net";
import type { FastifyReply, FastifyRequest, HookHandlerDoneFunction } from "fastify";
import type { Clock } from "../../shared/runtime/clock.ts";
import { ServingError } from "../../shared/runtime/errors.ts";
import { Pause } from "../../shared/runtime/pause.ts";
import { Handshakes } from "./handshakes.ts";
import { discard } from "./linger.ts";

/** So many requests of one connection may stand in line behind the one that is answered. Node holds up to 16 KiB of the body of each. */
export const IN_LINE_MAX = 10;
/** Who has been told why his connection ends reads that for this long. */
const END_MS = 5_000;

/** Where Node tells of each connection that a server of this process takes. */
const OPENED = "net.server.socket";

interface Line {
  /** Answers that are not out yet, in their order. */
  readonly unanswered: Set<ServerResponse>;
  /** What more comes is no request. */
  ends: boolean;
}

/** The connections of servers that open from now on, each from its first moment: Node's own list of them begins behind the TLS handshake. */
export class Connections {
  readonly #open = new Set<Socket>();
  readonly #handshakes: Handshakes;

  constructor(server: Server, handshakes = new Handshakes()) {
    this.#handshakes = handshakes;
    server.on("connection", (socket) => this.#opened(socket));
  }

  /** Those of `port`, too, whose library shows nobody its server; until the returned function is called. */
  watchPort(port: number): () => void {
    const opened = (message: unknown) => {
      const { socket } = message as { readonly socket: Socket };
      if (socket.localPort === port) this.#opened(socket);
    };
    subscribe(OPENED, opened);
    return () => void unsubscribe(OPENED, opened);
  }

  get size(): number {
    return this.#open.size;
  }

  /** Ends them all, whatever they are at. */
  cut(): void {
    for (const socket of this.#open) socket.destroy();
  }

  #opened(socket: Socket): void {
    this.#open.add(socket);
    socket.once("close", () => this.#open.delete(socket));
    this.#handshakes.opened(socket);
  }
}

/** The requests of each connection of a server. */
export class Lines {
  readonly #lines = new WeakMap<Socket, Line>();
  /** Connections with an answer that is not out yet. */
  readonly #busy = new Set<Socket>();
  readonly #answered = new Pause();

  /**
   * Requests of one connection are dealt with one after another. None in line is begun, and nothing is paid for it; once its turn comes, its response has
   * the socket and hears of its close. Who leaves before is forgotten with the connection: `next` is never called. Refuses with OVERLOADED who finds a full line:
   * refusals are short, and Node reads no further where too much of them lies. Where more of a body waits than Node buffers, nobody hears that its client leaves
   * before something is written.
   */
  takeTurn({ raw: request }: FastifyRequest, { raw: response }: FastifyReply, next: HookHandlerDoneFunction): void {
    const { socket } = request;
    const { unanswered } = this.#lineOf(socket);
    unanswered.add(response);
    this.#busy.add(socket);
    response.once("close", () => {
      unanswered.delete(response);
      if (unanswered.size === 0) this.#rests(socket);
    });
    if (response.socket !== null) next();
    else if (unanswered.size > IN_LINE_MAX + 1)
      next(
        new ServingError(
          "OVERLOADED",
          `${IN_LINE_MAX} requests wait on this connection already: read their answers first, or open another`,
        ),
      );
    else
      response.once("socket", () => {
        socket.setTimeout(0); // it was for the reader of the answer before
        if (!socket.destroyed) next();
      });
  }

  /**
   * Ends a connection that brought what is no request, or no end of one. What came whole before is answered first, unless its client has left: `say` writes why,
   * and is not called where that would land in an answer. Called again for each piece of the rest, which is not kept.
   */
  breakOff(socket: Socket, left: boolean, say: () => void): void {
    const line = this.#lineOf(socket);
    if (line.ends) return void (left && socket.destroy());
    line.ends = true;
    const unanswered = [...line.unanswered];
    const whole = unanswered.findLast(({ req }) => req.complete);
    const landsInAnswer = whole !== undefined || unanswered.some(({ headersSent }) => headersSent);
    const end = () => {
      if (socket.writable) say();
      socket.end();
      socket.once("close", discard(socket, END_MS));
    };
    if (whole !== undefined && !left) whole.once("finish", end);
    else if (landsInAnswer) socket.destroy();
    else end();
  }

  /** Resolves once every answer is out, or has nobody to go to, or after `ms`: Node counts a connection as idle whose last answer is still on its way. */
  async answered(clock: Clock, ms: number): Promise<void> {
    if (this.#busy.size > 0) await this.#answered.wait(clock, ms);
  }

  #lineOf(socket: Socket): Line {
    const known = this.#lines.get(socket);
    if (known !== undefined) return known;
    const line: Line = { unanswered: new Set(), ends: false };
    this.#lines.set(socket, line);
    socket.once("close", () => this.#rests(socket)); // answers in line do not hear of it
    return line;
  }

  #rests(socket: Socket): void {
    this.#busy.delete(socket);
    if (this.#busy.size === 0) this.#answered.end();
  }
}
