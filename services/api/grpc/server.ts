import { Server, ServerCredentials, setLogger } from "@grpc/grpc-js";
import { ReflectionService } from "@grpc/reflection";
import { HealthImplementation } from "grpc-health-check";
import { ServingError } from "../../shared/runtime/errors.ts";
import type { ApiDeps } from "../deps.ts";
import { HANDSHAKE_MS } from "../http/handshakes.ts";
import { tlsOf } from "../tls.ts";
import { batchMethods } from "./batches.ts";
import { atTheDoor } from "./calls.ts";
import { BATCHES, batchesService, JOBS, jobsService, packageDefinition } from "./definition.ts";
import { jobMethods } from "./jobs.ts";

const SERVICES = [JOBS, BATCHES];
/** Calls of one connection at a time. */
const STREAMS_MAX = 1_024;
/** Idle connections are kept through what forgets them. */
const KEEPALIVE_MS = 30_000;
const HEALTH_MS = 5_000;
const ANSWER_MS = 2_000;

export interface RunningGrpc {
  /** host:port */
  readonly address: string;
  /** Call once `deps.stopping` has aborted: open calls are ending then, and are cut where they have not after `lastWordsMs`. */
  close(lastWordsMs: number): Promise<void>;
}

/** The gRPC service of proto/longshore/v1/jobs.proto, with health and reflection. Port 0 takes any free one. */
export async function openGrpc(deps: ApiDeps, port: number): Promise<RunningGrpc> {
  const { config, log } = deps;
  setLogger({ error: (text: string) => log.warn({ grpc: text }, "the gRPC library reports an error") }); // its own lines are none of a log's
  const server = new Server({
    "grpc.max_receive_message_length": config.bodyMaxBytes,
    "grpc.max_concurrent_streams": STREAMS_MAX,
    "grpc.keepalive_time_ms": KEEPALIVE_MS,
    interceptors: [atTheDoor(deps)],
  });
  server.addService(jobsService, jobMethods(deps));
  server.addService(batchesService, batchMethods(deps));
  new ReflectionService(packageDefinition, { services: SERVICES }).addToServer(server);
  const health = new HealthImplementation();
  tellHealth(health, true);
  health.addToServer(server);
  const host = config.host.includes(":") ? `[${config.host}]` : config.host;
  const bound = await bind(server, `${host}:${port}`, credentialsOf(deps));
  void watchHealth(deps, health);
  return {
    address: `${host}:${bound}`,
    close: (lastWordsMs) =>
      new Promise((resolve) => {
        const cut = setTimeout(() => server.forceShutdown(), lastWordsMs);
        server.tryShutdown(() => {
          clearTimeout(cut);
          resolve();
        });
      }),
  };
}

/** Serves while the record answers. */
async function watchHealth({ bus, clock, stopping }: ApiDeps, health: HealthImplementation): Promise<void> {
  stopping.addEventListener("abort", () => tellHealth(health, false), { once: true });
  while (!stopping.aborted) {
    const answers = await bus.ready(ANSWER_MS).then(
      () => true,
      () => false,
    );
    if (!stopping.aborted) tellHealth(health, answers);
    await clock.sleep(HEALTH_MS, stopping).catch(() => {});
  }
}

/** Of the whole server, and of each service. */
function tellHealth(health: HealthImplementation, serves: boolean): void {
  for (const service of ["", ...SERVICES]) health.setStatus(service, serves ? "SERVING" : "NOT_SERVING");
}

function credentialsOf({ config }: ApiDeps): ServerCredentials {
  const tls = tlsOf(config);
  if (tls === null) return ServerCredentials.createInsecure();
  const credentials = ServerCredentials.createSsl(null, [{ private_key: tls.key, cert_chain: tls.cert }]);
  Object.assign(credentials._getConstructorOptions()!, { handshakeTimeout: HANDSHAKE_MS }); // createSsl takes none
  return credentials;
}

const bind = (server: Server, address: string, credentials: ServerCredentials): Promise<number> =>
  new Promise((resolve, reject) => {
    server.bindAsync(address, credentials, (cause, port) => {
      if (cause === null) return resolve(port);
      const why = /\bE[A-Z]{3,}\b/.exec(cause.message)?.[0] ?? cause.message; // the system's code is somewhere in it
      reject(new ServingError("UNAVAILABLE", `cannot listen at ${address} (${why}); set LONGSHORE_GRPC_PORT or LONGSHORE_HOST`, { cause }));
    });
  });
