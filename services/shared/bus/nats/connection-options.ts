import type { ConnectionOptions } from "nats";
import { refusal } from "../../runtime/errors.ts";
import { parseStoreUrl, type StoreUrl } from "../../runtime/store-url.ts";

/** Two unanswered pings end a connection to a server that is frozen. */
const PING_MS = 5_000;

export type NamedServers = Omit<ConnectionOptions, "servers"> & { readonly servers: string[] };

/**
 * Options for a server, or for several of one cluster, by their URLs. The first gives TLS and credentials. Throws
 * INVALID_REQUEST if another contradicts it.
 */
export function connectionOptions(url: string, tryMs: number): NamedServers {
  const urls = url.split(",").map(parsed);
  const [first] = urls;
  if (first !== undefined) for (const other of urls) checkLike(first, other);
  return {
    servers: urls.map(({ url }) => url.host),
    ...(first?.url.protocol === "tls:" && { tls: {} }),
    ...(first !== undefined && credentials(first)),
    name: "longshore",
    timeout: tryMs,
    reconnect: true,
    maxReconnectAttempts: -1,
    ignoreAuthErrorAbort: true,
    pingInterval: PING_MS,
    maxPingOut: 2,
    noAsyncTraces: true,
  };
}

function checkLike(first: StoreUrl, { url, username, password }: StoreUrl): void {
  const refused = (why: string) => refusal(`LONGSHORE_NATS_URL: ${why}`);
  if (url.protocol !== first.url.protocol) throw refused("all servers must have nats:// URLs, or all tls://");
  const isNamed = username !== "" || password !== "";
  if (isNamed && (username !== first.username || password !== first.password))
    throw refused("put user and password in the first URL; they must be the same for every server");
}

const parsed = (text: string): StoreUrl =>
  parseStoreUrl("LONGSHORE_NATS_URL", text, "must be nats://host:4222, or several of them separated by commas");

/** `nats://user:password@host`, or `nats://token@host`. */
function credentials({ username, password }: StoreUrl): Pick<ConnectionOptions, "token" | "user" | "pass"> {
  if (username === "") return {};
  return password === "" ? { token: username } : { user: username, pass: password };
}
