import { type Readable, Transform } from "node:stream";
import type { FastifyReply, FastifyRequest, RequestPayload } from "fastify";
import { PART_BYTES } from "../../shared/batches/file.ts";
import { type Printable, readJson } from "../../shared/engine/chat/python-json.ts";
import { refusal } from "../../shared/runtime/errors.ts";
import type { BodyRoom, Share } from "./body-room.ts";

/** A JSON body: its text, because prompts depend on it to the letter, and what it says. */
export interface Body {
  readonly raw: string;
  /** Undefined if nothing was sent. */
  readonly json: unknown;
}

export const NO_BODY: Body = { raw: "", json: undefined };

declare module "fastify" {
  interface FastifyRequest {
    /** What its body takes of the room for bodies; null before anything of it is taken. */
    bodyShare: Share | null;
  }
}

/** A body that has not arrived whole by then is given up: one of the largest size needs half a megabyte a second. */
export const BODY_MS = 60_000;

/** So is an upload: as for bodies, half a megabyte a second is fast enough. */
export const UPLOAD_MS = 400_000;

/** An upload is stored while it arrives: a part that waits, and its copy on the way. */
export const UPLOAD_BYTES = 2 * PART_BYTES;

export const isUpload = ({ headers }: Pick<FastifyRequest, "headers">): boolean =>
  /^multipart\/form-data(?:[\s;]|$)/i.test(headers["content-type"] ?? "");

/**
 * Takes room for the body of a request as it arrives, through the payload that is returned, until it is dropped or the request ends, however it does.
 * Throws OVERLOADED; a body beyond `bytesMax` is for whoever reads it to refuse, and an upload is counted by whoever stores it.
 */
export function takeRoom(room: BodyRoom, request: FastifyRequest, reply: FastifyReply, payload: RequestPayload, bytesMax: number) {
  const share = room.share(request.caller);
  const { "content-length": length, "transfer-encoding": unknownLength } = request.headers;
  const uploads = isUpload(request);
  const bytes = uploads ? Math.min(Number(length ?? UPLOAD_BYTES), UPLOAD_BYTES) : Number(length ?? 0);
  const left = uploads || bytes <= bytesMax ? share.announce(bytes) : 0;
  request.bodyShare = share;
  reply.raw.once("close", () => {
    share.giveBack();
    request.raw.unpipe().resume(); // what nobody read stands before the next request of this connection
  });
  return uploads || (left === 0 && unknownLength === undefined) ? payload : counted(payload, share);
}

/** The same bytes, which take room as they come. Nobody need read them: of a GET nobody does. */
export function counted(payload: Readable, share: Share, most?: number): Transform {
  const arrived = new Transform({
    transform(bytes: Buffer, _, done) {
      try {
        share.arrive(bytes.length, most);
        done(null, bytes);
      } catch (error) {
        done(error as Error);
      }
    },
  });
  arrived.on("error", () => {}); // for whoever reads
  payload.on("error", (error) => arrived.destroy(error));
  return payload.pipe(arrived);
}

/** For whoever needs the body no longer, but answers yet. */
export function dropBody(request: FastifyRequest): void {
  request.body = NO_BODY;
  request.bodyShare?.giveBack();
}

const utf8 = new TextDecoder("utf-8", { fatal: true });

/** INVALID_REQUEST says what to send instead. */
export function readBody({ headers }: Pick<FastifyRequest, "headers">, bytes: Buffer): Body {
  if (![undefined, "identity"].includes(headers["content-encoding"]))
    throw refused("compressed bodies are not supported: send the body uncompressed", "unsupported_encoding");
  if (bytes.length === 0) return NO_BODY; // clients say the type of what they do not send
  let raw: string;
  try {
    raw = utf8.decode(bytes);
  } catch {
    throw refused("the body is not valid UTF-8", "invalid_encoding");
  }
  try {
    return { raw, json: JSON.parse(raw) };
  } catch (error) {
    throw refused(`the body is not valid JSON: ${(error as Error).message}`, "invalid_json");
  }
}

/** The body read so that numbers and key order survive. */
export function readExactly(body: Body): Printable {
  try {
    return readJson(body.raw);
  } catch (error) {
    throw refused(`the numbers in the body's tools cannot be kept exactly: ${(error as Error).message}`, "invalid_json");
  }
}

const refused = (message: string, apiCode: string) => refusal(message, { apiCode });
