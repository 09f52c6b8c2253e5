import { isIP } from "node:net";
import { refusal, type ServingError } from "../../runtime/errors.ts";
import { decoded, parseStoreUrl } from "../../runtime/store-url.ts";

/** Where a Redis is and who we are there. */
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

const NAME = "LONGSHORE_REDIS_URL";
const FORM = "must begin with redis://, rediss:// or unix://";

/** `redis://[user:password@]host[:port][/db]`, `rediss://` for TLS, `unix://[user:password@localhost]/path[?db=n]`. INVALID_REQUEST otherwise; never repeats the URL, which may hold a password. */
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

/** What a TLS handshake asks for; certificates are verified against the system's and NODE_EXTRA_CA_CERTS. */
export const serverName = (target: RedisTarget): { servername?: string } => (isIP(target.host) ? {} : { servername: target.host });

const badUrl = (problem: string): ServingError => refusal(`${NAME}: ${problem}`);
