import { expect, test } from "vitest";
import { readCompose } from "../../../services/cli/cluster/compose.ts";
import { planProcesses } from "../../../services/cli/cluster/plan.ts";

const services = readCompose("docker-compose.yml", {});

async function plan(publish: boolean, tls = false) {
  let port = 20_000;
  return planProcesses(services, { stateDir: "state", publish, tls, freePort: async () => port++ });
}

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

test("the environment of the caller fills placeholders", () => {
  const api = readCompose("docker-compose.yml", { LONGSHORE_ENGINE: "weightless" }).find(({ name }) => name === "api");
  expect(api!.environment).toMatchObject({ LONGSHORE_ENGINE: "weightless", LONGSHORE_MODEL_PATH: "deploy/models/yardlog" });
});

test("where the API speaks https it is asked so whether it is ready, and the others are not", async () => {
  const probes = (await plan(false, true)).map(({ service, probe }) => [service, probe.kind === "http" && probe.tls === true]);
  expect(Object.fromEntries(probes)).toEqual({ nats: false, redis: false, api: true, prefill: false, decode: false, batch: false });
});

test("a compose file that is not here, or is none, says where a cluster is started", () => {
  expect(() => readCompose("nowhere.yml", {})).toThrow("longshore's folder");
  expect(() => readCompose("README.md", {})).toThrow(/README.md cannot be/);
});
