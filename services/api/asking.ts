import type { FastifyRequest } from "fastify";
import type { Body } from "./http/body.ts";
import { bodyHash } from "./submit.ts";

/** What a request tells beside what it asks for. */
export interface Asking {
  readonly headers: FastifyRequest["headers"];
  readonly url: string;
  readonly body: Pick<Body, "raw">;
  readonly caller: FastifyRequest["caller"];
}

export const hashOf = ({ url, body }: Asking, index: number): string => ofChoice(bodyHash(url, body.raw), index);

/** What tells the jobs of one request from each other; its first is as if it had asked for one. */
export const ofChoice = (text: string, index: number): string => (index === 0 ? text : `${text}\n${index}`);

export function idempotencyKeyOf({ headers: { "idempotency-key": key } }: Pick<Asking, "headers">): string | null {
  return typeof key === "string" && key !== "" ? key : null;
}

/** SDKs say so when they send a request again. */
export const isRetry = ({ headers }: Pick<Asking, "headers">): boolean => Number(headers["x-stainless-retry-count"] ?? 0) >= 1;
