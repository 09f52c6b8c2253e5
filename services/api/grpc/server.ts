import { Server, ServerCredentials, type UntypedServiceImplementation } from "@grpc/grpc-js";
import { ReflectionService } from "@grpc/reflection";
import { HealthImplementation } from "grpc-health-check";
import { ServingError } from "../../shared/runtime/errors.ts";
import type { ApiDeps } from "../deps.ts";
import { findJob } from "../follow.ts";
import { cancelJob } from "../jobs.ts";
import { tlsOf } from "../tls.ts";
import { jobMessage, updates } from "./answers.ts";
import { type Call, streaming, unary } from "./calls.ts";
import { JOBS, jobsService, packageDefinition } from "./definition.ts";
import type { IdMessage, JobMessage, SubmitMessage, UpdateMessage, WatchMessage } from "./messages.ts";
import { submitMessage } from "./requests.ts";

/** Calls of one connection at a time. */
const STREAMS_MAX = 1_024;
/** Idle connections are kept through what forgets them. */
const KEEPALIVE_MS = 30_000;
const HEALTH_MS = 5_000;
const ANSWER_MS = 2_000;
/** What is being answered when the process stops has this long to be told so. */
const LAST_WORDS_MS = 250;

export interface RunningGrpc {
  /** host:port */
  readonly address: string;
  /** Call once `deps.stopping` has aborted: open calls are ending then. */
  close(): Promise<void>;
}

/** The gRPC service of proto/longshore/v1/jobs.proto, with health and reflection. Port 0 takes any free one. */
export async function openGrpc(deps: ApiDeps, port: number): Promise<RunningGrpc> {
  const { config } = deps;
  const server = new Server({
    "grpc.max_receive_message_length": config.bodyMaxBytes,
    "grpc.max_concurrent_streams": STREAMS_MAX,
    "grpc.keepalive_time_ms": KEEPALIVE_MS,
  });
  server.addService(jobsService, methods(deps));
  new ReflectionService(packageDefinition, { services: [JOBS] }).addToServer(server);
  const health = new HealthImplementation({ "": "SERVING", [JOBS]: "SERVING" });
  health.addToServer(server);
  const bound = await bind(server, `${config.host}:${port}`, credentialsOf(deps));
  void watchHealth(deps, health);
  return {
    address: `${config.host}:${bound}`,
    close: () =>
      new Promise((resolve) => {
        const cut = setTimeout(() => server.forceShutdown(), LAST_WORDS_MS);
        server.tryShutdown(() => {
          clearTimeout(cut);
          resolve();
        });
      }),
  };
}

function methods(deps: ApiDeps): UntypedServiceImplementation {
  const { bus, readers, log } = deps;
  const find = async (id: string | undefined, { tenant }: Call) => ({ jobId: id ?? "", ...(await findJob(bus, id ?? "", tenant)) });
  const told = async (id: string | undefined, call: Call) => {
    const { jobId, ...job } = await find(id, call);
    return jobMessage(deps, jobId, job);
  };

  const submit = async (message: SubmitMessage, call: Call, detached: boolean) => {
    const submitted = await submitMessage(deps, message, call, detached);
    log.info({ path: call.path, jobId: submitted.jobId }, "submitted");
    return submitted;
  };

  /** Told to whoever reads, and to those who count readers. */
  async function* read(jobId: string, options: { owned: boolean; detached: boolean }, after: number, { signal }: Call) {
    const leave = readers.enter(jobId, options);
    let ended = false;
    try {
      for await (const update of updates(deps, jobId, after, signal)) {
        ended = update.usage !== undefined || update.error !== undefined;
        yield update;
      }
    } finally {
      leave(ended);
    }
  }

  async function* watch({ id, after = 0 }: WatchMessage, call: Call): AsyncGenerator<UpdateMessage> {
    const { jobId, request } = await find(id, call);
    yield* read(jobId, { owned: false, detached: request.detached }, after, call);
  }

  async function* generate(message: SubmitMessage, call: Call): AsyncGenerator<UpdateMessage> {
    const { jobId, created } = await submit(message, call, false);
    yield* read(jobId, { owned: created, detached: false }, 0, call);
  }

  return {
    Submit: unary<SubmitMessage, JobMessage>(deps, async (message, call) => told((await submit(message, call, true)).jobId, call)),
    Get: unary<IdMessage, JobMessage>(deps, ({ id }, call) => told(id, call)),
    Cancel: unary<IdMessage, JobMessage>(deps, async ({ id }, call) => {
      await cancelJob(bus, (await find(id, call)).jobId, "a request to cancel it");
      return told(id, call);
    }),
    Watch: streaming<WatchMessage, UpdateMessage>(deps, watch),
    Generate: streaming<SubmitMessage, UpdateMessage>(deps, generate),
  } as UntypedServiceImplementation;
}

/** Serves while the record answers. */
async function watchHealth({ bus, clock, stopping }: ApiDeps, health: HealthImplementation): Promise<void> {
  const tell = (serves: boolean) => {
    for (const service of ["", JOBS]) health.setStatus(service, serves ? "SERVING" : "NOT_SERVING");
  };
  stopping.addEventListener("abort", () => tell(false), { once: true });
  while (!stopping.aborted) {
    const answers = await bus.ready(ANSWER_MS).then(
      () => true,
      () => false,
    );
    if (!stopping.aborted) tell(answers);
    await clock.sleep(HEALTH_MS, stopping).catch(() => {});
  }
}

function credentialsOf({ config }: ApiDeps): ServerCredentials {
  const tls = tlsOf(config);
  return tls === null
    ? ServerCredentials.createInsecure()
    : ServerCredentials.createSsl(null, [{ private_key: tls.key, cert_chain: tls.cert }]);
}

const bind = (server: Server, address: string, credentials: ServerCredentials): Promise<number> =>
  new Promise((resolve, reject) => {
    server.bindAsync(address, credentials, (cause, port) => {
      if (cause === null) resolve(port);
      else
        reject(
          new ServingError("UNAVAILABLE", `cannot listen at ${address} (${cause.message}); set LONGSHORE_GRPC_PORT or LONGSHORE_HOST`, {
            cause,
          }),
        );
    });
  });
