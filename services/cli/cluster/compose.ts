import { readFileSync } from "node:fs";
import { parse } from "yaml";
import { z } from "zod";
import type { Environment } from "../../shared/runtime/config.ts";
import { refusal } from "../../shared/runtime/errors.ts";

/** `SOURCE:TARGET[:ro]`, or a folder or file of the host at length. */
const volumeSchema = z.union([
  z.string().transform((volume) => {
    const [source = "", target = ""] = volume.split(":");
    return { source, target, bind: /^[./]/.test(source) };
  }),
  z
    .object({ type: z.literal("bind"), source: z.string(), target: z.string() })
    .transform(({ source, target }) => ({ source, target, bind: true })),
]);

/** What the local cluster reads of a compose file. Everything else in it concerns containers alone. */
const composeSchema = z.object({
  services: z.record(
    z.string(),
    z.object({
      image: z.string(),
      command: z.array(z.string()),
      environment: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()]).transform(String).nullable()).default({}),
      ports: z.array(z.string()).default([]),
      volumes: z.array(volumeSchema).default([]),
      depends_on: z.record(z.string(), z.unknown()).default({}),
      restart: z.string().default("no"),
      deploy: z.object({ replicas: z.number().int().min(0).max(64).default(1) }).default({ replicas: 1 }),
    }),
  ),
});

export interface Service {
  readonly name: string;
  readonly image: string;
  readonly command: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  readonly replicas: number;
  /** Container port -> host ports published for the replicas, in order; without an entry it is reachable inside the cluster only. */
  readonly hostPorts: ReadonlyMap<string, readonly number[]>;
  /** Container folder -> volume name. */
  readonly volumes: ReadonlyMap<string, string>;
  /** Container path -> what of the host is mounted there. */
  readonly mounts: ReadonlyMap<string, string>;
  readonly dependsOn: readonly string[];
  readonly restarts: boolean;
}

/** The services of a compose file, those others depend on first. `env` fills `${NAME:-default}`, `${NAME:+words}` and names without a value as compose does. */
export function readCompose(path: string, env: Environment): Service[] {
  const parsed = composeSchema.safeParse(read(path, env));
  if (!parsed.success) throw refusal(`${path} cannot be run as a local cluster: ${z.prettifyError(parsed.error)}`);
  const services = Object.entries(parsed.data.services).map(([name, service]) => ({
    name,
    image: service.image,
    command: service.command,
    environment: resolved(service.environment, env),
    replicas: service.deploy.replicas,
    hostPorts: new Map(service.ports.map(hostPorts)),
    volumes: targets(service.volumes.filter(({ bind }) => !bind)),
    mounts: targets(service.volumes.filter(({ bind }) => bind)),
    dependsOn: Object.keys(service.depends_on),
    restarts: service.restart !== "no",
  }));
  return dependenciesFirst(services);
}

const targets = (volumes: readonly { readonly source: string; readonly target: string }[]): Map<string, string> =>
  new Map(volumes.map(({ source, target }) => [target, source]));

function resolved(environment: Readonly<Record<string, string | null>>, env: Environment): Record<string, string> {
  const values = Object.entries(environment).map(([name, value]) => [name, value ?? env[name]] as const);
  return Object.fromEntries(values.flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])));
}

function read(path: string, env: Environment): unknown {
  try {
    return parse(readFileSync(path, "utf8"), (_, value) => (typeof value === "string" ? interpolate(value, env) : value), { merge: true });
  } catch (cause) {
    const why = (cause as Error).message;
    throw refusal(`${path} cannot be read: ${why}; start a local cluster in longshore's folder, which contains it`, { cause });
  }
}

const interpolate = (text: string, env: Environment): string =>
  text.replace(/\$\{([A-Z_]+):([-+])([^}]*)\}/g, (_, name: string, sign: string, words: string) =>
    sign === "-" ? env[name] || words : env[name] ? words : "",
  );

/** `"8000-8001:8000"` -> ["8000", [8000, 8001]] */
function hostPorts(mapping: string): [string, readonly number[]] {
  const match = /^(?:[\d.]+:)?(\d+)(?:-(\d+))?:(\d+)$/.exec(mapping);
  if (match === null) throw refusal(`port mapping ${mapping}: only "FIRST[-LAST]:CONTAINER" is supported`);
  const first = Number(match[1]);
  const last = Number(match[2] ?? match[1]);
  return [match[3]!, Array.from({ length: last - first + 1 }, (_, i) => first + i)];
}

function dependenciesFirst(services: readonly Service[]): Service[] {
  const ordered: Service[] = [];
  const visit = (name: string, path: readonly string[]): void => {
    if (path.includes(name)) throw refusal(`services depend on each other: ${[...path, name].join(" -> ")}`);
    const service = services.find((one) => one.name === name);
    if (service === undefined) throw refusal(`depends_on names an unknown service: ${name}`);
    for (const other of service.dependsOn) visit(other, [...path, name]);
    if (!ordered.includes(service)) ordered.push(service);
  };
  for (const { name } of services) visit(name, []);
  return ordered;
}
