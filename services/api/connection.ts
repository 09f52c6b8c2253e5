import type { ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { FastifyReply, FastifyRequest, HookHandlerDoneFunction } from "fastify";
import { ServingError } from "../shared/runtime/errors.ts";

/** So many requests of one connection may stand in line behind the one that is answered. */
export const IN_LINE_MAX = 100;

/** By connection: answers that are not out yet, in their order. */
const unanswered = new WeakMap<Socket, Set<ServerResponse>>();

/** Connections that end behind an answer. */
const ending = new WeakSet<Socket>();

/**
 * Requests of one connection are dealt with one after another. Of one in line nothing is read, and nothing is paid for it; once its turn comes, its response has
 * the socket and hears of its close. Who leaves before is forgotten with the connection: `next` is never called. Refuses with OVERLOADED who finds a full line:
 * refusals are short, and Node reads no further where too much of them lies. Where more of a body waits than Node buffers, nobody hears that its client leaves
 * before something is written.
 */
export function takeTurn({ raw: request }: FastifyRequest, { raw: response }: FastifyReply, next: HookHandlerDoneFunction): void {
  const { socket } = request;
  const line = unanswered.get(socket) ?? new Set();
  unanswered.set(socket, line.add(response));
  response.once("close", () => line.delete(response));
  if (response.socket !== null) next();
  else if (line.size > IN_LINE_MAX + 1)
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
 * and is not called where that would land in an answer.
 */
export function breakOff(socket: Socket, left: boolean, say: () => void): void {
  const line = [...(unanswered.get(socket) ?? [])];
  const whole = line.findLast(({ req }) => req.complete);
  const end = () => {
    if (socket.writable) say();
    socket.destroy();
  };
  if (whole !== undefined && !left) {
    if (!ending.has(socket)) whole.once("finish", end);
    ending.add(socket);
  } else if (whole !== undefined || line.some(({ headersSent }) => headersSent)) socket.destroy();
  else end();
}
