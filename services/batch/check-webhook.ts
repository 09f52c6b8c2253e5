import { refusal } from "../shared/runtime/errors.ts";
import type { BatchDeps } from "./lines-run.ts";

const SECRET_BYTES_MIN = 24;
/** To these `fetch` sends nothing ("bad port"), and to 0 nobody can: https://fetch.spec.whatwg.org/#port-blocking. */
export const BLOCKED_PORTS: ReadonlySet<number> = new Set([
  ...[0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104, 109, 110, 111, 113, 115],
  ...[117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587],
  ...[601, 636, 989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679],
  ...[6697, 10080],
]);

/** Throws INVALID_REQUEST for a URL that nothing can be sent to, and for one without a secret that can sign. */
export function checkWebhook({ webhookUrl, webhookSecret }: BatchDeps["config"]): void {
  if (webhookUrl === "") return;
  const url = URL.canParse(webhookUrl) ? new URL(webhookUrl) : null;
  if (url === null || !/^https?:$/.test(url.protocol)) throw refusal("LONGSHORE_WEBHOOK_URL must be an http: or https: URL");
  if (url.username !== "" || url.password !== "")
    throw refusal("LONGSHORE_WEBHOOK_URL must not contain a user or a password: webhooks are signed instead");
  if (url.port !== "" && BLOCKED_PORTS.has(Number(url.port)))
    throw refusal(`LONGSHORE_WEBHOOK_URL must have another port: Node sends nothing to ${url.port}, which browsers block (a "bad port")`);
  if (keyOf(webhookSecret).length < SECRET_BYTES_MIN)
    throw refusal(`LONGSHORE_WEBHOOK_SECRET must be whsec_ followed by at least ${SECRET_BYTES_MIN} bytes in base64`);
}

/** What signs. */
export const keyOf = (secret: string): Buffer => Buffer.from(secret.startsWith("whsec_") ? secret.slice("whsec_".length) : "", "base64");
