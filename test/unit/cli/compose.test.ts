import { existsSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { parse } from "yaml";
import { readCompose } from "../../../services/cli/cluster/compose.ts";
import { planProcesses, refuseOverridden } from "../../../services/cli/cluster/plan.ts";
import { type Environment, envName } from "../../../services/shared/runtime/config.ts";
import { settingGroups } from "../../../services/shared/runtime/settings.ts";

const COMPOSE = "docker-compose.yml";
const services = readCompose(COMPOSE, {});

async function plan(publish: boolean, tls = false, env: Environment = {}) {
  let port = 20_000;
  return planProcesses(readCompose(COMPOSE, env), { stateDir: "state", publish, tls, freePort: async () => port++ });
}

/** The roles' containers, with these settings in the shell or in .env. */
const roles = (env: Environment) => readCompose(COMPOSE, env).filter(({ image }) => image.startsWith("longshore:"));

test("the compose file has two of every role, after the stores they need", () => {
  expect(services.map(({ name, replicas }) => `${name} x${replicas}`)).toEqual([
    "nats x1",
    "redis x1",
    "api x2",
    "prefill x2",
    "decode x2",
    "batch x2",
  ]);
});

test("container addresses become loopback ports, volumes become folders", async () => {
  const plans = await plan(false);
  const [nats, redis, api1, api2] = plans;
  expect(nats!.args).toEqual([
    "--jetstream",
    "--store_dir",
    "state/nats",
    "--addr",
    "127.0.0.1",
    "--port",
    String(nats!.port),
    "--http_port",
    expect.any(String),
  ]);
  expect(redis!.args.slice(0, 2)).toEqual(["--port", String(redis!.port)]);
  expect(api1!.env).toMatchObject({
    LONGSHORE_NATS_URL: `nats://127.0.0.1:${nats!.port}`,
    LONGSHORE_REDIS_URL: `redis://127.0.0.1:${redis!.port}`,
    LONGSHORE_HOST: "127.0.0.1",
    LONGSHORE_PORT: String(api1!.port),
  });
  expect(api2!.port).not.toBe(api1!.port);
  expect(new Set(plans.map(({ port }) => port)).size).toBe(plans.length);
});

test("published ports are those of the file", async () => {
  const plans = await plan(true);
  const apis = plans.filter(({ name }) => name.startsWith("api"));
  expect(apis.map(({ port, env }) => [port, env.LONGSHORE_GRPC_PORT])).toEqual([
    [8000, "9000"],
    [8001, "9001"],
  ]);
});

/** Settings that no container is given, and why. */
const notHandedOn: Readonly<Record<string, string>> = {
  LONGSHORE_NATS_URL: "the file's own server",
  LONGSHORE_REDIS_URL: "the file's own server",
  LONGSHORE_HOST: "inside its network a container is reached at all its addresses",
  LONGSHORE_PORT: "the file publishes it",
  LONGSHORE_GRPC_PORT: "the file publishes it",
  LONGSHORE_STATUS_PORT: "the file's health checks ask there",
  LONGSHORE_MEMORY_STORE_BYTES: "the cache is the file's Redis",
  LONGSHORE_KEY: "of commands, and no role is one",
};
test("a local cluster refuses what the shell says and the file overrides, and takes the rest", async () => {
  const names = Object.values(settingGroups).flatMap((group) => Object.keys(group).map(envName));
  const refused = names.filter((name) => name in notHandedOn && !["LONGSHORE_MEMORY_STORE_BYTES", "LONGSHORE_KEY"].includes(name));
  expect(refused).toHaveLength(6);
  for (const name of names) {
    const env = { [name]: "18200", NODE_OPTIONS: "--no-warnings" };
    const refusing = plan(true, false, env).then((plans) => refuseOverridden(plans, env));
    if (refused.includes(name)) await expect(refusing).rejects.toThrow(`unset ${name};`);
    else await refusing;
  }
});

/** Settings that name files: a container is told where they are mounted. */
const mounted: Readonly<Record<string, readonly string[]>> = {
  LONGSHORE_MODEL_PATH: ["api", "prefill", "decode", "batch"],
  LONGSHORE_TLS_CERT_FILE: ["api"],
  LONGSHORE_TLS_KEY_FILE: ["api"],
};

test("every setting that is set reaches every role, but for those that say nothing to a container", () => {
  const names = Object.values(settingGroups).flatMap((group) => Object.keys(group).map(envName));
  expect(names).toEqual(expect.arrayContaining([...Object.keys(notHandedOn), ...Object.keys(mounted)]));
  for (const { name: role, environment } of roles(Object.fromEntries(names.map((name) => [name, `# ${name}`])))) {
    const left = names.filter((name) => environment[name] !== `# ${name}` && !(name in mounted));
    expect([role, left.sort()]).toEqual([role, Object.keys(notHandedOn).sort()]);
  }
});

test.each(Object.entries(mounted))(
  "what %s names is mounted where its roles look for it, and read in place without containers",
  async (name, readers) => {
    const path = "/srv/our files/v4-flash";
    const containers = roles({ [name]: path }).filter(({ environment, mounts }) => mounts.get(environment[name] ?? "") === path);
    expect(containers.map((service) => service.name)).toEqual(readers);
    const plans = (await plan(false, false, { [name]: path })).filter(({ service }) => readers.includes(service));
    expect(new Set(plans.map(({ env }) => env[name]))).toEqual(new Set([path]));
  },
);

test("the model keeps the name of its folder, and the default one is the image's own", () => {
  const [named] = roles({ LONGSHORE_MODEL_PATH: "/srv/models/v4-flash" });
  expect(named!.environment.LONGSHORE_MODEL_PATH).toMatch(/^\/model\/.*\/v4-flash$/);
  for (const { environment } of roles({})) expect(environment.LONGSHORE_MODEL_PATH).toBe("deploy/models/yardlog");
});

test("what is mounted is there, whatever is set, and nobody writes to it", () => {
  const { services } = parse(readFileSync(COMPOSE, "utf8"), { merge: true }) as {
    services: Record<string, { volumes?: (string | { type: string; source: string; read_only: boolean; bind: object })[] }>;
  };
  const mounts = Object.values(services).flatMap(({ volumes = [] }) => volumes.filter((volume) => typeof volume === "object"));
  expect(mounts).toHaveLength(6);
  for (const mount of mounts) expect(mount).toMatchObject({ type: "bind", read_only: true, bind: { create_host_path: false } });
  for (const { mounts } of roles({})) for (const source of mounts.values()) expect([source, existsSync(source)]).toEqual([source, true]);
});

test("without settings the containers have the file's, and no others", () => {
  const [api, prefill] = roles({ LONGSHORE_KEY: "lsk_ours", LONGSHORE_PORT: "1", LONGSHORE_NATS_URL: "nats://elsewhere:4222" });
  const shared = {
    LONGSHORE_NATS_URL: "nats://nats:4222",
    LONGSHORE_REDIS_URL: "redis://redis:6379",
    LONGSHORE_MODEL_PATH: "deploy/models/yardlog",
    LONGSHORE_ENGINE: "native",
    LONGSHORE_LOG_LEVEL: "info",
    LONGSHORE_HOST: "0.0.0.0",
    NODE_OPTIONS: "--max-semi-space-size=32",
  };
  const tls = { LONGSHORE_TLS_CERT_FILE: "", LONGSHORE_TLS_KEY_FILE: "" };
  expect(api!.environment).toEqual({ ...shared, ...tls, LONGSHORE_PORT: "8000", LONGSHORE_GRPC_PORT: "9000" });
  expect(prefill!.environment).toEqual({ ...shared, LONGSHORE_STATUS_PORT: "8100", LONGSHORE_THREADS: "1" });
});

test("where the API speaks https it is asked so whether it is ready, and the others are not", async () => {
  const probes = (await plan(false, true)).map(({ service, probe }) => [service, probe.kind === "http" && probe.tls === true]);
  expect(Object.fromEntries(probes)).toEqual({ nats: false, redis: false, api: true, prefill: false, decode: false, batch: false });
});

test("a compose file that is not here, or is none, says where a cluster is started", () => {
  expect(() => readCompose("nowhere.yml", {})).toThrow("longshore's folder");
  expect(() => readCompose("README.md", {})).toThrow(/README.md cannot be/);
});

test("all roles run one image, which is built once", () => {
  const { services } = parse(readFileSync(COMPOSE, "utf8"), { merge: true }) as {
    services: Record<string, { image: string; build?: object }>;
  };
  const built = Object.values(services).filter(({ build }) => build !== undefined);
  expect(built.map(({ image }) => image)).toEqual(["longshore:local"]);
});

/** `deploy/build-*.sh` */
const asPattern = (glob: string) => new RegExp(`^${glob.replaceAll(".", "\\.").replaceAll("*", "[^/]*")}$`);

test("what the image's build copies is sent to the engine, and nothing that may be secret or large", () => {
  const lines = (path: string) => readFileSync(path, "utf8").split("\n");
  const sent = lines(".dockerignore").flatMap((line) => (line.startsWith("!") ? [line.slice(1)] : []));
  const copied = lines("deploy/Dockerfile").flatMap((line) => {
    const [, sources] = /^COPY (?!--from)(?:--\S+ )?(.+) \S+$/.exec(line) ?? [];
    return sources?.split(" ") ?? [];
  });
  expect(copied).not.toHaveLength(0);
  for (const source of copied) {
    expect([source, existsSync(source)]).toEqual([source, true]);
    const isSent = sent.some((path) => asPattern(path).test(source) || path.startsWith(`${source}/`));
    expect([source, isSent]).toEqual([source, true]);
  }
  expect(lines(".dockerignore")).toContain("*");
});
