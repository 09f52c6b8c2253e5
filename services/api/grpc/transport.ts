import { constants, type ServerHttp2Stream } from "node:http2";
import type { ServerInterceptor, status } from "@grpc/grpc-js";
import { refusal, ServingError } from "../../shared/runtime/errors.ts";
import { onAbort } from "../../shared/runtime/pause.ts";
import type { Caller } from "../auth.ts";
import type { ApiDeps } from "../deps.ts";
import { BODY_MS } from "../http/body.ts";
import { statusOf } from "./status.ts";

type ServerCall = Parameters<ServerInterceptor>[1];

/** grpc-js does not tell what has come of a message, nor what was taken of one; the HTTP/2 stream of a call does. */
const streamOf = (call: ServerCall): ServerHttp2Stream => (call as unknown as { readonly stream: ServerHttp2Stream }).stream;

export interface Arrival {
  /** Nothing has come yet: whose room it will take. */
  from(caller: Caller): void;
  /** The message is there. */
  whole(): void;
  /** Nothing that comes from now on is kept: the call was cancelled. */
  over(): void;
  /** Ends the call, and what its client still sends. */
  refuse(thrown: unknown): void;
}

/** Throws INVALID_REQUEST: grpc-js inflates a message to a thousand times what has arrived, which is what takes room. */
export function refuseCompressed(call: ServerCall): void {
  const { incomingEncoding } = call as unknown as { readonly incomingEncoding: string };
  if (incomingEncoding !== "identity")
    throw refusal("compressed messages are not supported: send them uncompressed", {
      apiCode: "unsupported_encoding",
    });
}

/** Takes room for a call's message as it arrives, until the call ends, as grpc-js holds it so long; refuses one that does not arrive in time, or before the process stops. */
export function watchArrival({ bodies, stopping }: Pick<ApiDeps, "bodies" | "stopping">, call: ServerCall): Arrival {
  const stream = streamOf(call);
  let share = bodies.share(null);
  const count = (bytes: Buffer) => {
    try {
      share.arrive(bytes.length);
    } catch (thrown) {
      refuse(thrown);
    }
  };
  const over = () => void stream.off("data", count);
  const refuse = (thrown: unknown) => {
    over();
    call.sendStatus(statusOf(ServingError.from(thrown)));
    stream.close(constants.NGHTTP2_NO_ERROR);
  };
  const late = setTimeout(
    () => refuse(new ServingError("REQUEST_TIMEOUT", `the message did not arrive within ${BODY_MS / 1_000} s`)),
    BODY_MS,
  );
  const noMatter = onAbort([stopping], () => refuse(stopping.reason));
  const whole = () => {
    clearTimeout(late);
    noMatter();
  };
  stream.prependListener("data", count);
  stream.once("close", () => {
    whole();
    share.giveBack();
  });
  const from = (caller: Caller) => {
    share = bodies.share(caller);
  };
  return { from, whole, over, refuse };
}

/** Tells the status a call went out with, whoever gave it; grpc-js ends some calls by itself. Nothing for a client who left before. */
export function watchEnd(call: ServerCall, ended: (code: status) => void): void {
  const stream = streamOf(call);
  stream.once("close", () => {
    const code = stream.sentTrailers?.["grpc-status"] ?? stream.sentHeaders?.["grpc-status"]; // an answer without messages has no trailers of its own
    if (code !== undefined) ended(Number(code));
  });
}

/** A message goes out in pieces of so many bytes, an HTTP/2 frame's: what its client has taken shows by the piece. */
const PIECE_BYTES = 16_384;

/** Cuts off a client who takes nothing of what lies here for him for `ms`: a stream he can resume, an answer he can get again. */
export function watchTaking(call: ServerCall, ms: number): void {
  const stream = streamOf(call);
  const stalled = setTimeout(() => {
    if (stream.writableLength > 0) stream.close(constants.NGHTTP2_ENHANCE_YOUR_CALM);
  }, ms);
  stream.once("close", () => clearTimeout(stalled));
  const moved = () => {
    if (!stream.closed) stalled.refresh();
  };
  const write: (piece: Buffer, taken: (error?: Error | null) => void) => boolean = stream.write.bind(stream);
  const inPieces = (message: Buffer, sent: (error?: Error | null) => void): boolean => {
    moved();
    let at = 0;
    for (; at + PIECE_BYTES < message.length; at += PIECE_BYTES) write(message.subarray(at, at + PIECE_BYTES), moved);
    return write(message.subarray(at), (error) => {
      moved();
      sent(error);
    });
  };
  Object.assign(stream, { write: inPieces, _writev: null }); // pieces written together would be taken together
}
