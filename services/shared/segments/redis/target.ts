import { isIP } from "node:net";
import { refusal, type ServingError } from "../../runtime/errors.ts";
import { decoded, parseStoreUrl } from "../../runtime/store-url.ts";

/** Where a Redis is, and our credentials there. */
export interface RedisTarget {
  /** A socket's path, or null for host and port. */
  readonly path: string | null;
  readonly host: string;
  readonly port: number;
  readonly tls: boolean;
  readonly username: string;
  /** Empty: no AUTH. */
  readonly password: string;
  readonly db: number;
}

/** As people and logs know it. */
export const nameOf = ({ path, host, port }: RedisTarget): string => path ?? `${host}:${port}`;

export const isPort = (port: unknown): port is number => Number.isInteger(port) && (port as number) > 0 && (port as number) < 65_536;

/**
 * Another node of the cluster of `from`, reached with the same credentials and TLS setting. Without a host: another
 * port of the same host.
 */
export const atNode = (from: RedisTarget, host: string | null, port: number): RedisTarget => ({
  ...from,
  path: null,
  host: host || from.host,
  port,
});

const NAME = "LONGSHORE_REDIS_URL";
const FORM = "must begin with redis://, rediss:// or unix://";

/**
 * One server, or nodes of one cluster: whole URLs, separated by commas. The first gives the credentials. Throws
 * INVALID_REQUEST if another contradicts it.
 */
export function parseRedisUrls(text: string): readonly [RedisTarget, ...RedisTarget[]] {
  const [first, ...others] = text.split(/,(?=\w+:\/\/)/).map(parseRedisUrl) as [RedisTarget, ...RedisTarget[]];
  return [first, ...others.map((other) => like(first, other))];
}

function like(first: RedisTarget, other: RedisTarget): RedisTarget {
  const isNamed = other.username !== "" || other.password !== "";
  if (first.path !== null || other.path !== null || other.tls !== first.tls)
    throw badUrl("all nodes of a cluster must have redis:// URLs, or all rediss://");
  if (isNamed && (other.username !== first.username || other.password !== first.password))
    throw badUrl("put user and password in the first URL; they must be the same for every node");
  if (first.db !== 0 || other.db !== 0) throw badUrl("a cluster has only database 0");
  return { ...first, host: other.host, port: other.port };
}

/**
 * `redis://[user:password@]host[:port][/db]`, `rediss://` for TLS, `unix://[user:password@localhost]/path[?db=n]`.
 * Throws INVALID_REQUEST otherwise; no message repeats the URL, which may hold a password.
 */
export function parseRedisUrl(text: string): RedisTarget {
  const { url, username, password } = parseStoreUrl(NAME, text, FORM);
  if (!["redis:", "rediss:", "unix:"].includes(url.protocol)) throw badUrl(FORM);
  const unix = url.protocol === "unix:";
  const db = (unix ? url.searchParams.get("db") : url.pathname.slice(1)) || "0";
  if (!/^\d{1,5}$/.test(db)) throw badUrl("the database, behind the last /, must be a number");
  return {
    path: unix ? decoded(url.pathname, "the socket's path", badUrl) : null,
    host: url.hostname.replace(/^\[|\]$/g, "") || "127.0.0.1",
    port: Number(url.port || 6379),
    tls: url.protocol === "rediss:",
    username,
    password,
    db: Number(db),
  };
}

/**
 * The server name of the TLS handshake, none for an IP address. Certificates are verified against the system's and
 * NODE_EXTRA_CA_CERTS.
 */
export const serverName = (target: RedisTarget): { servername?: string } => (isIP(target.host) ? {} : { servername: target.host });

const badUrl = (problem: string): ServingError => refusal(`${NAME}: ${problem}`);
