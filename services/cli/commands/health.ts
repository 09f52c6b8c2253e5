import { type Config, environment } from "../../shared/runtime/config.ts";
import { ServingError } from "../../shared/runtime/errors.ts";
import { probeHttp } from "../cluster/probe.ts";

/** Throws what the process of this environment says unless it is ready. */
export async function health({ port, statusPort, tlsCertFile }: Config): Promise<void> {
  const at = "LONGSHORE_STATUS_PORT" in environment ? { port: statusPort } : { port, tls: tlsCertFile !== "" };
  const problem = await probeHttp({ ...at, path: "/ready" });
  if (problem !== null) throw new ServingError("UNAVAILABLE", problem);
}
