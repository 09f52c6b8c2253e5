import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { ServingError } from "./errors.ts";
import type { Metrics } from "./metrics.ts";

interface Status {
  /** Null while all is well, else what is wrong, for people. */
  readonly healthy: () => string | null;
  readonly ready: () => string | null | Promise<string | null>;
  readonly metrics: Metrics;
}

interface StatusServer {
  readonly port: number;
  close(): Promise<void>;
}

/** /health, /ready and /metrics of a process that serves nothing else. */
export async function openStatusServer(host: string, port: number, status: Status): Promise<StatusServer> {
  const verdict = (problem: string | null) => ({ code: problem === null ? 200 : 503, body: `${problem ?? "ok"}\n` });
  const routes: Record<string, () => { code: number; body: string } | Promise<{ code: number; body: string }>> = {
    "/health": () => verdict(status.healthy()),
    "/ready": async () => verdict(await status.ready()),
    "/metrics": async () => ({ code: 200, body: await status.metrics.text() }),
  };
  const server = createServer((request, response) => {
    const route = routes[request.url ?? ""] ?? (() => ({ code: 404, body: "not found\n" }));
    Promise.resolve(route()).then(
      ({ code, body }) => response.writeHead(code, { "content-type": "text/plain; charset=utf-8" }).end(body),
      (error: unknown) => response.writeHead(500).end(`${String(error)}\n`),
    );
  });
  await new Promise<void>((resolve, reject) => server.once("error", reject).listen(port, host, resolve)).catch((cause) => {
    throw new ServingError("UNAVAILABLE", `cannot listen at ${host}:${port} (${cause.code}); set LONGSHORE_STATUS_PORT or LONGSHORE_HOST`, {
      cause,
    });
  });
  return {
    port: (server.address() as AddressInfo).port,
    close: () => new Promise((resolve) => server.close(() => resolve())),
  };
}
