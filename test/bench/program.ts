import { fromSources } from "../support/role-process.ts";

/** Node's arguments for the processes that are measured: as built where the bench itself is. */
export const program: readonly string[] = import.meta.url.includes("/dist/") ? ["dist/services/cli/main.js"] : fromSources;
