import type { Socket } from "node:net";
import { finished } from "node:stream";
import type { FastifyReply, FastifyRequest } from "fastify";
import { BODY_MS, isUpload, UPLOAD_MS } from "./body.ts";

/** What is read of a body behind its refusal, about: more than the largest upload. */
const LINGER_BYTES_MAX = 268_435_456;

/**
 * For a request that is refused before all of its body is there. The rest is read and discarded, and only then the connection may end: one that is closed
 * with bytes unread is reset, and takes the answer with it. nginx calls that a lingering close.
 */
export function linger(request: FastifyRequest, reply: FastifyReply): void {
  const { raw } = request;
  if (raw.complete || raw.destroyed) return;
  const { socket } = raw;
  const closes = !reply.raw.shouldKeepAlive;
  reply.header("connection", "keep-alive"); // it is closed at once where Fastify or the client says so
  reply.raw.once("finish", () => {
    const stop = discard(socket, isUpload(request) ? UPLOAD_MS : BODY_MS);
    finished(raw, () => {
      stop();
      if (closes) socket.destroySoon();
    });
  });
}

/** Ends a connection whose bytes are read for nobody once they are too many, or too slow, unless the result is called before. */
export function discard(socket: Socket, mostMs: number): () => void {
  const before = socket.bytesRead;
  let ms = 0;
  const look = setInterval(() => {
    ms += LOOK_MS;
    if (ms >= mostMs || socket.bytesRead - before > LINGER_BYTES_MAX) socket.destroy();
  }, LOOK_MS);
  return () => clearInterval(look);
}

const LOOK_MS = 1_000;
