import type { FastifyReply, FastifyRequest } from "fastify";
import { ServingError } from "../../shared/runtime/errors.ts";
import { onAbort } from "../../shared/runtime/pause.ts";
import { BODY_MS, isUpload } from "./body.ts";

/** Answers in our place where nobody else can: whoever reads the body waits for its end. */
type Say = (error: ServingError) => void;

/** Answers a request whose body is still on its way when its time is over, or the process stops. */
export function watchBody(request: FastifyRequest, reply: FastifyReply, stopping: AbortSignal, say: Say): void {
  if (!isUpload(request)) giveUpLate(request, reply, say);
  if (request.method !== "POST") return; // nobody waits for the body
  const noMatter = onAbort([stopping], () => giveUpAtStop(request, reply, stopping.reason, say));
  request.raw.once("close", noMatter);
}

/** Requests without a body are complete when they come, however long their answer takes. */
function giveUpLate({ raw }: FastifyRequest, { raw: response }: FastifyReply, say: Say): void {
  const late = setTimeout(() => {
    if (raw.complete) return;
    if (!response.headersSent) say(new ServingError("REQUEST_TIMEOUT", `the body did not arrive within ${BODY_MS / 1_000} s`));
    raw.destroy();
  }, BODY_MS);
  raw.once("close", () => clearTimeout(late));
}

/** What still comes is read for nobody until the connection is cut: one that ends with bytes unread takes the answer with it. */
function giveUpAtStop({ raw }: FastifyRequest, reply: FastifyReply, why: ServingError, say: Say): void {
  if (raw.complete || reply.raw.headersSent) return;
  reply.hijack();
  say(why);
  raw.socket.end();
  if (raw.listenerCount("error") > 0) raw.emit("error", why); // whoever reads it
  raw.unpipe().resume();
}
