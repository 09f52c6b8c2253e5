import type { FastifyRequest } from "fastify";
import { isAnthropic } from "../anthropic/errors.ts";
import type { ApiDeps } from "../deps.ts";
import type { Standing } from "./limits.ts";

/** Where the key of a request stands, in the words of its surface. */
export function rateHeaders({ limits, clock }: Pick<ApiDeps, "limits" | "clock">, request: FastifyRequest): Record<string, string> {
  const key = request.caller?.key ?? null;
  if (key === null) return {};
  const standings = limits.standing(key);
  return isAnthropic(request) ? anthropicRateHeaders(standings, clock.nowMs()) : openaiRateHeaders(standings);
}

/** As OpenAI says it: `x-ratelimit-remaining-tokens: 149984`, `x-ratelimit-reset-tokens: 6m0s`. What has no limit has no header. */
const openaiRateHeaders = (standings: readonly Standing[]): Record<string, string> =>
  Object.fromEntries(
    standings.flatMap(({ kind, limit, remaining, resetSeconds }) => [
      [`x-ratelimit-limit-${kind}`, String(limit)],
      [`x-ratelimit-remaining-${kind}`, String(remaining)],
      [`x-ratelimit-reset-${kind}`, duration(resetSeconds)],
    ]),
  );

/** As Anthropic says it: `anthropic-ratelimit-tokens-reset` is a time of day (RFC 3339). */
const anthropicRateHeaders = (standings: readonly Standing[], nowMs: number): Record<string, string> =>
  Object.fromEntries(
    standings.flatMap(({ kind, limit, remaining, resetSeconds }) => [
      [`anthropic-ratelimit-${kind}-limit`, String(limit)],
      [`anthropic-ratelimit-${kind}-remaining`, String(remaining)],
      [`anthropic-ratelimit-${kind}-reset`, new Date(nowMs + 1_000 * Math.ceil(resetSeconds)).toISOString().replace(/\.\d+/, "")],
    ]),
  );

function duration(seconds: number): string {
  const whole = Math.ceil(seconds);
  return whole < 60 ? `${whole}s` : `${Math.floor(whole / 60)}m${whole % 60}s`;
}
