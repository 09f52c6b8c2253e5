import type { ConnectionOptions } from "nats";
import { parseStoreUrl, type StoreUrl } from "../../runtime/store-url.ts";

/** Two unanswered pings end a connection to a server that is frozen. */
const PING_MS = 5_000;

export type NamedServers = Omit<ConnectionOptions, "servers"> & { readonly servers: string[] };

/** For a server, or several of one cluster, by their URLs: who we are is said by the first. */
export function connectionOptions(url: string, tryMs: number): NamedServers {
  const urls = url.split(",").map(parsed);
  const [first] = urls;
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

const parsed = (text: string): StoreUrl =>
  parseStoreUrl("LONGSHORE_NATS_URL", text, "must be nats://host:4222, or several of them separated by commas");

/** `nats://user:password@host`, or `nats://token@host`. */
function credentials({ username, password }: StoreUrl): Pick<ConnectionOptions, "token" | "user" | "pass"> {
  if (username === "") return {};
  return password === "" ? { token: username } : { user: username, pass: password };
}
