import type { FastifyInstance, FastifyRequest } from "fastify";
import { ServingError } from "../../shared/runtime/errors.ts";
import type { ApiDeps } from "../deps.ts";

const READY_MS = 2_000;

/** Asked for without end, by whoever watches a process: what they answer goes into no log. */
export const isProbe = ({ routeOptions: { url } }: Pick<FastifyRequest, "routeOptions">): boolean =>
  url !== undefined && PROBES.includes(url);
const PROBES = ["/health", "/ready", "/metrics"];

/** /health: the process runs. /ready: it can take work, because the record answers; workers may still be on their way, jobs wait for them. */
export function statusRoutes(app: FastifyInstance, { admission, bodies, bus, readers, stopping, metrics }: ApiDeps): void {
  const backlog = metrics.gauge("longshore_backlog_tokens", "Tokens waiting or under way in the whole cluster.", ["kind"]);
  const read = metrics.gauge("longshore_api_jobs_read", "Jobs that are read here, or wait for a reader to come back.");
  const held = metrics.gauge("longshore_api_body_bytes", "Bytes of request bodies that are on their way or held here.");
  app.get("/health", async () => ({ status: "ok" }));
  app.get("/ready", async () => {
    if (stopping.aborted) throw new ServingError("UNAVAILABLE", "shutting down");
    await bus.ready(READY_MS);
    const [prefill, decode] = await Promise.all([bus.registry.beats("prefill"), bus.registry.beats("decode")]);
    return { status: "ok", workers: { prefill: prefill.size, decode: decode.size } };
  });
  app.get("/metrics", async (_, reply) => {
    const tokens = await admission.backlogTokens().catch(() => ({ prompt: Number.NaN, output: Number.NaN })); // the record is away
    for (const [kind, count] of Object.entries(tokens)) backlog.set({ kind }, count);
    read.set(readers.count);
    held.set(bodies.bytes);
    return reply.type("text/plain; version=0.0.4").send(await metrics.text());
  });
}
