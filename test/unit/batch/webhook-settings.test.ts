import { expect, test } from "vitest";
import { checkWebhook } from "../../../services/batch/webhooks.ts";
import { loadConfig } from "../../../services/shared/runtime/config.ts";

const secret = `whsec_${Buffer.alloc(24).toString("base64")}`;
const check = (url: string, signedWith = secret) =>
  checkWebhook(loadConfig({ LONGSHORE_WEBHOOK_URL: url, LONGSHORE_WEBHOOK_SECRET: signedWith }));

test.each([
  ["hook", secret, "must be an http: or https: URL"],
  ["ftp://host/hook", secret, "must be an http: or https: URL"],
  ["https://yard:hunter2@host/hook", secret, "must not hold a user or a password"],
  ["https://host/hook", "", "LONGSHORE_WEBHOOK_SECRET"],
  ["https://host/hook", `whsec_${Buffer.alloc(23).toString("base64")}`, "LONGSHORE_WEBHOOK_SECRET"],
])("a webhook at %j signed with %j is refused at the start", (url, signedWith, why) => {
  expect(() => check(url, signedWith)).toThrow(why);
  expect(() => check(url, signedWith)).not.toThrow("hunter2");
});

test("none, and one that can be told, are taken", () => {
  check("", "");
  check("https://host/hook?token=a");
});
