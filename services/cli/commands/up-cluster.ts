import { resolve } from "node:path";
import { systemClock } from "../../shared/runtime/clock.ts";
import { type Config, environment } from "../../shared/runtime/config.ts";
import { runUntilStopped } from "../../shared/runtime/lifecycle.ts";
import { openLog } from "../../shared/runtime/log.ts";
import { readCompose } from "../cluster/compose.ts";
import { planProcesses, refuseOverridden } from "../cluster/plan.ts";
import { freePort } from "../cluster/ports.ts";
import { launch } from "../cluster/processes.ts";

const START_MS = 60_000;
const STOP_MS = 60_000;
const STATE = ".longshore/cluster";

export interface ClusterOptions {
  /** Where logs and the record are kept. */
  readonly state?: string;
  readonly freePorts?: boolean;
}

/** The cluster of docker-compose.yml as processes of this machine, until told to stop. */
export async function upCluster(config: Config, options: ClusterOptions): Promise<void> {
  const stateDir = resolve(options.state ?? STATE);
  const services = readCompose("docker-compose.yml", environment);
  const tls = config.tlsCertFile !== "";
  const plans = await planProcesses(services, { stateDir, publish: options.freePorts !== true, tls, freePort });
  refuseOverridden(plans, environment);
  const log = openLog("cluster", config.logLevel === "info" ? "warn" : config.logLevel);
  await runUntilStopped(log, STOP_MS, async (signal) => {
    const cluster = await launch(plans, {
      stateDir,
      startMs: START_MS,
      signal,
      clock: systemClock,
      env: environment,
      onStarted: ({ plan, pid }) => console.log(`${plan.name.padEnd(12)} pid ${String(pid).padEnd(8)} port ${plan.port}`),
      onExit: ({ plan }, how) => log.warn({ process: plan.name, how }, "a process ended"),
      onLogLost: ({ plan }, { message }) => log.warn({ process: plan.name, reason: message }, "its log cannot be written: lines are lost"),
    });
    const apis = plans.filter(({ service }) => service === "api");
    const at = (ports: readonly (number | string)[], scheme = "") => ports.map((port) => `${scheme}127.0.0.1:${port}`).join(" and ");
    const grpc = apis.flatMap(({ env }) => env.LONGSHORE_GRPC_PORT ?? []);
    const http = apis.map(({ port }) => port);
    if (grpc.length > 0) console.log(`\ngRPC at ${at(grpc)}`);
    console.log(`\nkeys: LONGSHORE_NATS_URL=${apis[0]?.env.LONGSHORE_NATS_URL} longshore keys create NAME`);
    console.log(`\nready: ${at(http, tls ? "https://" : "http://")}   (logs in ${stateDir}; stop with Ctrl-C)`);
    await new Promise((stop) => signal.addEventListener("abort", stop, { once: true }));
    console.log("stopping: workers hand back what they hold; Ctrl-C again ends all at once");
    await cluster.stop();
  });
}
