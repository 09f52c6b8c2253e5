import type { ConnectionOptions } from "nats";
import { ServingError } from "../../runtime/errors.ts";

/** Two unanswered pings end a connection to a server that is frozen. */
const PING_MS = 5_000;

/** For a server, or several of one cluster, by their URLs: who we are is said by the first. */
export function connectionOptions(url: string, tryMs: number): ConnectionOptions {
  const urls = url.split(",").map(parsed);
  const [first] = urls;
  return {
    servers: urls.map(({ host }) => host),
    ...(first?.protocol === "tls:" && { tls: {} }),
    ...credentials(first),
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

/** INVALID_REQUEST never repeats the URL, which may hold a password. */
function parsed(text: string): URL {
  if (URL.canParse(text)) return new URL(text);
  throw new ServingError("INVALID_REQUEST", "LONGSHORE_NATS_URL: must be nats://host:4222, or several of them separated by commas");
}

/** `nats://user:password@host`, or `nats://token@host`. */
function credentials(url: URL | undefined): ConnectionOptions {
  const [user, password] = [url?.username ?? "", url?.password ?? ""].map(decodeURIComponent);
  if (user === undefined || user === "") return {};
  return password === undefined || password === "" ? { token: user } : { user, pass: password };
}
