import { createHash } from "node:crypto";
import type { FastifyRequest } from "fastify";
import { onAbort } from "../shared/runtime/pause.ts";
import { callerOf } from "./auth.ts";
import type { Body } from "./http/body.ts";
import { rememberedAs } from "./submit.ts";

/** What a request tells beside what it asks for. */
export interface ApiRequest {
  readonly headers: FastifyRequest["headers"];
  readonly url: string;
  readonly body: Pick<Body, "raw">;
  readonly caller: FastifyRequest["caller"];
  /** Of a connection that is its own. */
  readonly socket?: Pick<FastifyRequest["socket"], "once" | "off">;
  /** Aborts when its client leaves, where it shares a connection with others. */
  readonly signal?: AbortSignal;
}

/** Calls back when the client of a request leaves, until the returned function is called. */
export function onLeaving({ socket, signal }: Pick<ApiRequest, "socket" | "signal">, act: () => void): () => void {
  if (signal !== undefined) return onAbort([signal], act);
  socket?.once("close", act);
  return () => void socket?.off("close", act);
}

export const hashOf = ({ url, body }: ApiRequest, index: number): string =>
  ofChoice(createHash("sha256").update(`${url}\n${body.raw}`).digest("base64url"), index);

/** What tells the jobs of one request from each other; its first is as if it had asked for one. */
export const ofChoice = (text: string, index: number): string => (index === 0 ? text : `${text}\n${index}`);

export function idempotencyKeyOf({ headers: { "idempotency-key": key } }: Pick<ApiRequest, "headers">): string | null {
  return typeof key === "string" && key !== "" ? key : null;
}

/** What the record knows the key of a request as; null without one. */
export function keyInRecord(request: Pick<ApiRequest, "headers" | "caller">): string | null {
  const key = idempotencyKeyOf(request);
  return key === null ? null : rememberedAs(callerOf(request).tenant, key);
}

/** SDKs say so when they send a request again. */
export const isRetry = ({ headers }: Pick<ApiRequest, "headers">): boolean => Number(headers["x-stainless-retry-count"] ?? 0) >= 1;
