import { get } from "node:http";
import { get as getOverTls } from "node:https";
import { connect } from "node:net";
import type { Probe } from "./plan.ts";

const PROBE_MS = 1_000;
const BROKE_OFF = "its answer was cut off";

/** Null when the process answers as it should, else what it said. */
export function probe(target: Probe): Promise<string | null> {
  return target.kind === "http" ? probeHttp(target) : probeRedis(target.port);
}

/** Over TLS without asking whose certificate it is: it names a host, and this one asks itself. */
export const probeHttp = ({ port, path, tls = false }: Omit<Extract<Probe, { kind: "http" }>, "kind">): Promise<string | null> =>
  new Promise((resolve) => {
    const at = { host: "127.0.0.1", port, path, timeout: PROBE_MS, agent: false, rejectUnauthorized: false } as const;
    const request = (tls ? getOverTls : get)(at, (response) => {
      let body = "";
      response.setEncoding("utf8");
      response.on("data", (text: string) => {
        if (body.length < 1_000) body += text;
      });
      response.on("end", () => resolve(response.statusCode === 200 ? null : `${response.statusCode} ${body.trim()}`));
    });
    request.on("timeout", () => request.destroy(new Error("no answer")));
    request.on("error", (error) => resolve(error.message));
    request.on("close", () => resolve(BROKE_OFF)); // in the middle of its answer, else it is resolved
  });

const probeRedis = (port: number): Promise<string | null> =>
  new Promise((resolve) => {
    const socket = connect({ host: "127.0.0.1", port, timeout: PROBE_MS });
    const done = (problem: string | null) => {
      socket.destroy();
      resolve(problem);
    };
    socket.on("connect", () => socket.write("PING\r\n"));
    socket.on("data", (data) => done(data.toString().startsWith("+PONG") ? null : data.toString().trim()));
    socket.on("timeout", () => done("no answer"));
    socket.on("error", (error) => done(error.message));
    socket.on("close", () => done(BROKE_OFF));
  });
