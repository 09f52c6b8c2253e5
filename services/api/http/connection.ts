import type { ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { FastifyReply, FastifyRequest, HookHandlerDoneFunction } from "fastify";
import { ServingError } from "../../shared/runtime/errors.ts";
import { discard } from "./linger.ts";

/** So many requests of one connection may stand in line behind the one that is answered. Node holds up to 16 KiB of the body of each. */
export const IN_LINE_MAX = 10;
/** Who has been told why his connection ends reads that for this long. */
const END_MS = 5_000;

interface Line {
  /** Answers that are not out yet, in their order. */
  readonly unanswered: Set<ServerResponse>;
  /** What more comes is no request. */
  ends: boolean;
}

const lines = new WeakMap<Socket, Line>();

function lineOf(socket: Socket): Line {
  const line = lines.get(socket) ?? { unanswered: new Set(), ends: false };
  lines.set(socket, line);
  return line;
}

/**
 * Requests of one connection are dealt with one after another. None in line is begun, and nothing is paid for it; once its turn comes, its response has
 * the socket and hears of its close. Who leaves before is forgotten with the connection: `next` is never called. Refuses with OVERLOADED who finds a full line:
 * refusals are short, and Node reads no further where too much of them lies. Where more of a body waits than Node buffers, nobody hears that its client leaves
 * before something is written.
 */
export function takeTurn({ raw: request }: FastifyRequest, { raw: response }: FastifyReply, next: HookHandlerDoneFunction): void {
  const { socket } = request;
  const { unanswered } = lineOf(socket);
  unanswered.add(response);
  response.once("close", () => unanswered.delete(response));
  if (response.socket !== null) next();
  else if (unanswered.size > IN_LINE_MAX + 1)
    next(
      new ServingError("OVERLOADED", `${IN_LINE_MAX} requests wait on this connection already: read their answers first, or open another`),
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
export function breakOff(socket: Socket, left: boolean, say: () => void): void {
  const line = lineOf(socket);
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
