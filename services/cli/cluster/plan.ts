import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Environment } from "../../shared/runtime/config.ts";
import { refusal } from "../../shared/runtime/errors.ts";
import type { Service } from "./compose.ts";

/** One operating-system process of the local cluster. */
export interface ProcessPlan {
  readonly name: string;
  readonly service: string;
  /** Services that answer before this one starts. */
  readonly after: readonly string[];
  readonly program: string;
  readonly args: readonly string[];
  /** Added to the environment of the cluster command itself. */
  readonly env: Readonly<Record<string, string>>;
  readonly probe: Probe;
  readonly restarts: boolean;
  /** Where clients reach it, for what is printed. */
  readonly port: number;
}

export type Probe =
  | { readonly kind: "http"; readonly port: number; readonly path: string; readonly tls?: boolean }
  | { readonly kind: "redis"; readonly port: number };

interface PlanOptions {
  /** Parent of the folders that stand for volumes. */
  readonly stateDir: string;
  /** Publish the ports the file names; otherwise every port is a free one. */
  readonly publish: boolean;
  /** The environment that every process inherits has the API speak https. */
  readonly tls?: boolean;
  readonly freePort: () => Promise<number>;
}

const LOCAL = "127.0.0.1";
const main = fileURLToPath(new URL("../main.js", import.meta.url));

/** How an image of the compose file runs without a container: its binary, what only a local process must be told, and options it goes without. */
const programs: Record<string, { program: string; before: string[]; after: (dir: string) => string[]; without: string[] }> = {
  nats: { program: "nats-server", before: [], after: () => [], without: ["--config"] }, // the local server may be too old for it
  redis: { program: "redis-server", before: [], after: (dir) => ["--bind", LOCAL, "--dir", dir], without: [] },
  longshore: { program: process.execPath, before: ["--enable-source-maps", main], after: () => [], without: [] },
};

/** Container addresses become loopback ports, volumes become folders under `stateDir`, what is mounted is read where it lies; nothing else of the file changes. */
export async function planProcesses(services: readonly Service[], options: PlanOptions): Promise<ProcessPlan[]> {
  const addresses = new Map<string, string>();
  const plans: ProcessPlan[] = [];
  for (const service of services) {
    for (let replica = 0; replica < service.replicas; replica++) plans.push(await planReplica(service, replica, addresses, options));
  }
  return plans;
}

/** Refuses settings of the shell for which the file has its own: who set them would look for the cluster where it is not. */
export function refuseOverridden(plans: readonly ProcessPlan[], shell: Environment): void {
  const isOverridden = (name: string, value: string) => name.startsWith("LONGSHORE_") && shell[name] !== undefined && shell[name] !== value;
  const overridden = plans.flatMap(({ env }) => Object.entries(env).flatMap(([name, value]) => (isOverridden(name, value) ? [name] : [])));
  if (overridden.length === 0) return;
  throw refusal(
    `\`longshore up --cluster\` has servers, addresses and ports of its own: unset ${[...new Set(overridden)].join(" and ")}; ` +
      "the API's ports are those that docker-compose.yml publishes, or any free ones with --free-ports",
  );
}

async function planReplica(
  service: Service,
  replica: number,
  addresses: Map<string, string>,
  { stateDir, publish, freePort, tls = false }: PlanOptions,
): Promise<ProcessPlan> {
  const image = service.image.split(":", 1)[0]!;
  const recipe = programs[image];
  if (recipe === undefined) throw refusal(`image ${service.image}: the local cluster can run ${Object.keys(programs).join(", ")}`);
  const ports = new Map<string, number>();
  const localPort = async (container: string) => {
    const published = publish ? service.hostPorts.get(container)?.[replica] : undefined;
    const port = ports.get(container) ?? published ?? (await freePort());
    ports.set(container, port);
    if (replica === 0) addresses.set(`${service.name}:${container}`, `${LOCAL}:${port}`);
    return String(port);
  };
  const env: Record<string, string> = {};
  for (const [name, value] of Object.entries(service.environment)) {
    env[name] = name.endsWith("_PORT") ? await localPort(value) : (service.mounts.get(value) ?? localAddress(value, addresses));
  }
  const args: string[] = [];
  const command = service.command[0] === recipe.program ? service.command.slice(1) : service.command;
  for (const [i, arg] of command.entries()) {
    const flag = command[i - 1] ?? "";
    const volume = service.volumes.get(arg);
    if (recipe.without.includes(arg) || recipe.without.includes(flag)) continue;
    if (/^--(http_)?port$/.test(flag)) args.push(await localPort(arg));
    else args.push(volume === undefined ? (arg === "0.0.0.0" ? LOCAL : arg) : join(stateDir, volume));
  }
  const [first] = ports.values();
  if (first === undefined) throw refusal(`service ${service.name} names no port`);
  return {
    name: `${service.name}-${replica + 1}`,
    service: service.name,
    after: service.dependsOn,
    program: recipe.program,
    args: [...recipe.before, ...args, ...recipe.after(stateDir)],
    env,
    restarts: service.restarts,
    port: first,
    probe: probeOf(image, ports, tls && "LONGSHORE_PORT" in env),
  };
}

const localAddress = (value: string, addresses: ReadonlyMap<string, string>): string =>
  value === "0.0.0.0"
    ? LOCAL
    : value.replace(/\/\/([a-z0-9-]+:\d+)/g, (whole, address: string) => (addresses.has(address) ? `//${addresses.get(address)}` : whole));

function probeOf(image: string, ports: ReadonlyMap<string, number>, tls: boolean): Probe {
  const [first, second] = [...ports.values()];
  if (image === "redis") return { kind: "redis", port: first! };
  if (image === "nats") return { kind: "http", port: second ?? first!, path: "/healthz" };
  return { kind: "http", port: first!, path: "/ready", tls };
}
