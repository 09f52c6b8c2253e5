import { expect, test } from "vitest";
import { BLOCKED_PORTS, checkWebhook } from "../../../services/batch/check-webhook.ts";
import { loadConfig } from "../../../services/shared/runtime/config.ts";

const secret = `whsec_${Buffer.alloc(24).toString("base64")}`;
const check = (url: string, signedWith = secret) =>
  checkWebhook(loadConfig({ LONGSHORE_WEBHOOK_URL: url, LONGSHORE_WEBHOOK_SECRET: signedWith }));

test.each([
  ["hook", secret, "must be an http: or https: URL"],
  ["ftp://host/hook", secret, "must be an http: or https: URL"],
  ["https://yard:hunter2@host/hook", secret, "must not contain a user or a password"],
  ["http://host:9/hook", secret, "must have another port: Node sends nothing to 9"],
  ["https://host:6000/hook", secret, "must have another port"],
  ["https://host/hook", "", "LONGSHORE_WEBHOOK_SECRET"],
  ["https://host/hook", `whsec_${Buffer.alloc(23).toString("base64")}`, "LONGSHORE_WEBHOOK_SECRET"],
])("a webhook at %j signed with %j is refused at the start", (url, signedWith, why) => {
  expect(() => check(url, signedWith)).toThrow(why);
  expect(() => check(url, signedWith)).not.toThrow("hunter2");
});

test("none, and one that can be told, are taken", () => {
  check("", "");
  check("https://host/hook?token=a");
  check("http://host:80/hook");
});

test("a port that is refused is one that Node sends nothing to", async () => {
  for (const port of BLOCKED_PORTS)
    if (port !== 0) await expect(fetch(`http://127.0.0.1:${port}/`), `${port}`).rejects.toMatchObject({ cause: { message: "bad port" } });
});
