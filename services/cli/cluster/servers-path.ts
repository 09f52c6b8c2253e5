import type { Environment } from "../../shared/runtime/config.ts";

/** Debian keeps nats-server where only root's PATH looks. */
export const withServers = (env: Environment): Environment => ({ ...env, PATH: `${env.PATH ?? ""}:/usr/local/sbin:/usr/sbin` });
