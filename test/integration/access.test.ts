import { execFile } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { freePort } from "../../services/cli/cluster/ports.ts";
import { packageRoot } from "../../services/shared/runtime/package-root.ts";
import { NatsServer } from "../support/nats.ts";
import { type RedisServer, startRedis } from "../support/redis.ts";
import { commandLine, RoleProcess } from "../support/role-process.ts";

const [cert, key] = ["cert.pem", "key.pem"].map((name) => join(packageRoot(), "test/support/tls", name));
const trusting = { NODE_EXTRA_CA_CERTS: cert! };

let nats: NatsServer;
let redis: RedisServer;
let roles: RoleProcess[] = [];
let settings: Record<string, string>;
let url: string;

beforeAll(async () => {
  nats = await NatsServer.start(undefined, `tls { cert_file: "${cert}", key_file: "${key}" }\n`);
  const tlsPort = await freePort();
  const tls = ["--tls-port", String(tlsPort), "--tls-cert-file", cert!, "--tls-key-file", key!, "--tls-auth-clients", "no"];
  redis = await startRedis([...tls, "--tls-ca-cert-file", cert!]);
  const port = await freePort();
  url = `https://localhost:${port}`;
  settings = {
    ...{ LONGSHORE_NATS_URL: `tls://localhost:${nats.port}`, LONGSHORE_REDIS_URL: `rediss://localhost:${tlsPort}` },
    ...{ LONGSHORE_PORT: String(port), LONGSHORE_TLS_CERT_FILE: cert!, LONGSHORE_TLS_KEY_FILE: key! },
    ...{ LONGSHORE_REQUIRE_KEYS: "yes", LONGSHORE_ENGINE: "weightless", LONGSHORE_BEAT_MS: "100" },
  };
  roles = await Promise.all((["api", "prefill", "decode"] as const).map((role) => RoleProcess.start(role, { ...settings, ...trusting })));
});
afterAll(async () => {
  await Promise.all(roles.map((role) => role.stop()));
  await Promise.all([nats.stop(), redis.stop()]);
});

/** `longshore` as an operator calls it. */
async function longshore(
  args: readonly string[],
  env: Record<string, string> = trusting,
): Promise<{ code: number; out: string; said: string }> {
  const run = promisify(execFile)(process.execPath, commandLine(...args), { env: { ...process.env, ...settings, ...env } });
  return run.then(
    ({ stdout, stderr }) => ({ code: 0, out: stdout.trim(), said: stderr }),
    ({ code, stdout, stderr }) => ({ code, out: stdout, said: stderr }),
  );
}

test("over TLS everywhere: who has a key is answered, who has none or a revoked one is not", async () => {
  const file = join(nats.directory, "question.txt");
  writeFileSync(file, "Where is container red-fox?");
  const submit = (secret: string) => longshore(["--url", url, "--key", secret, "submit", file, "--max-tokens", "5"]);
  const none = await submit("lsk_000000000000_nothing");
  expect([none.code, none.said]).toEqual([2, expect.stringContaining("rejects the API key")]);

  const made = await longshore(["keys", "create", "ada", "--tenant", "research", "--requests-per-minute", "3"]);
  expect(made.out).toMatch(/^lsk_[0-9a-f]{12}_[\w-]{43}$/);
  expect(made.said).toContain("requests without a key are refused (401), even once all keys are revoked");
  await expect.poll(async () => (await submit(made.out)).code, { timeout: 20_000 }).toBe(0);

  const [, id] = made.out.split("_");
  expect((await longshore(["keys", "list"])).out).toMatch(new RegExp(`${id}  ada   research  3 +none`));
  expect(await longshore(["keys", "revoke", id!])).toMatchObject({ code: 0, out: expect.stringContaining("no key is left") });
  await expect.poll(async () => (await submit(made.out)).said, { timeout: 20_000 }).toContain("rejects the API key");
  expect((await longshore(["keys", "list"])).out).toContain("revoked");
  expect((await longshore(["keys", "revoke", "nobody"])).code).toBe(2);
});

test("the health of an API that speaks https is seen, though its certificate names another host than the one it asks itself by", async () => {
  const { code, said } = await longshore(["health"], {});
  expect(code, said).toBe(0);
});

test("a server whose certificate nobody vouches for is not talked to, and the message says why", async () => {
  const { code, said } = await longshore(["keys", "list"], { NODE_EXTRA_CA_CERTS: "" });
  expect(code).toBe(1);
  expect(said).toMatch(/self.signed certificate/);
});
