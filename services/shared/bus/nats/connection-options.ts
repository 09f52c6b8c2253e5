import type { ConnectionOptions } from "nats";
import { ServingError } from "../../runtime/errors.ts";

/** Two unanswered pings end a connection to a server that is frozen. */
const PING_MS = 5_000;

/** For a server, or several of one cluster, by their URLs: who we are is said by the first. INVALID_REQUEST for what is no URL. */
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

function parsed(text: string): URL {
  try {
    return new URL(text);
  } catch (cause) {
    throw new ServingError("INVALID_REQUEST", `${text} is no URL of a NATS server; write nats://host:4222, several separated by commas`, {
      cause,
    });
  }
}

/** `nats://user:password@host`, or `nats://token@host`. */
function credentials(url: URL | undefined): ConnectionOptions {
  const [user, password] = [url?.username ?? "", url?.password ?? ""].map(decodeURIComponent);
  if (user === undefined || user === "") return {};
  return password === undefined || password === "" ? { token: user } : { user, pass: password };
}
