import { lookup } from "node:dns/promises";
import type { FastifyInstance } from "fastify";
import { Reach } from "../shared/bus/reach.ts";
import { ServingError } from "../shared/runtime/errors.ts";
import { Admission } from "./admission/admission.ts";
import { identifier } from "./auth.ts";
import type { ApiDeps } from "./deps.ts";
import { Failures } from "./failures.ts";
import { openGrpc } from "./grpc/server.ts";
import { BodyRoom } from "./http/body-room.ts";
import { Connections } from "./http/connection.ts";
import { LAST_WORDS_MS, openHttp } from "./http/server.ts";
import { Readers } from "./jobs/readers.ts";
import { Retries } from "./jobs/retries.ts";
import { KeyRing } from "./keys/key-ring.ts";
import { Limits } from "./keys/limits.ts";
import { shareLimitsUntil } from "./keys/share-limits.ts";
import { reconcileUntil } from "./reconciler/reconcile-until.ts";
import { Replicas } from "./replicas.ts";

export interface RunningApi {
  /** http://host:port, or https: */
  readonly url: string;
  /** host:port of the gRPC API; null: none. */
  readonly grpc: string | null;
  /** Ends open streams, so that their readers resume elsewhere, and stops listening. */
  close(): Promise<void>;
}

/** Builds the API over its stores and listens. `config.port` 0 takes any free one. */
export async function startApi(
  deps: Pick<ApiDeps, "config" | "bus" | "model" | "clock" | "random" | "log" | "metrics">,
): Promise<RunningApi> {
  const { bus, clock, config, log, model, random } = deps;
  const stop = new AbortController();
  const replica = random.id("api_");
  const shown = { bus, clock, graceMs: config.graceMs, beatMs: config.beatMs, replica };
  const readers = new Readers(shown);
  const replicas = new Replicas(shown);
  const admission = new Admission(bus, clock, model.name, config);
  const ring = new KeyRing(bus.registry);
  await ring.look().catch(() => {}); // the record is away: nobody gets in before it is back
  const identify = identifier(config, ring);
  const limits = new Limits(clock);
  const all: ApiDeps = {
    ...deps,
    replica,
    readers,
    admission,
    retries: new Retries({ ...shown, replicas }),
    bodies: new BodyRoom(config),
    failures: new Failures(log, clock),
    identify,
    limits,
    stopping: stop.signal,
  };
  const grpc = config.grpcPort === null ? null : await openGrpc(all, config.grpcPort);
  const app: FastifyInstance = openHttp(all);
  const connections = new Connections(app.server);
  const unwatch = grpc === null ? null : connections.watchPort(Number(grpc.address.split(":").at(-1)));
  // For a localhost of two addresses Fastify opens a second server, which knows of none of the handlers that this one has.
  const listening = lookup(config.host, { order: "ipv4first" }).then(({ address }) => app.listen({ host: address, port: config.port }));
  const url = await listening.catch(async (cause) => {
    stop.abort(cause);
    unwatch?.();
    await grpc?.close(LAST_WORDS_MS);
    throw new ServingError(
      "UNAVAILABLE",
      `cannot listen at ${config.host}:${config.port} (${cause.code}); set LONGSHORE_PORT or LONGSHORE_HOST`,
      { cause },
    );
  });
  const showing = replicas.show(stop.signal);
  const reach = new Reach(log, clock);
  void shareLimitsUntil({ registry: bus.registry, ring, limits, replica, clock, beatMs: config.beatMs, reach }, stop.signal);
  const { claimMs, retentionSeconds, webhookUrl } = config;
  void reconcileUntil(
    { ...deps, ...shown, reach, claimMs, retentionMs: 1_000 * retentionSeconds, webhooks: webhookUrl !== "" },
    stop.signal,
  );
  return {
    url,
    grpc: grpc?.address ?? null,
    close: async () => {
      stop.abort(new ServingError("UNAVAILABLE", "this replica is shutting down; try again", { apiCode: "shutting_down" }));
      readers.close();
      const told = grpc?.close(LAST_WORDS_MS);
      const cut = setInterval(() => connections.cut(), LAST_WORDS_MS); // who came amid the first might stay
      await Promise.all([app.close(), told]);
      clearInterval(cut);
      unwatch?.();
      await showing;
    },
  };
}
