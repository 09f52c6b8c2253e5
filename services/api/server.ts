import fastify, { type FastifyInstance } from "fastify";
import { ServingError } from "../shared/runtime/errors.ts";
import type { ApiDeps, Body } from "./deps.ts";
import { errorBody, fromHttpLayer, retryHeaders } from "./errors.ts";
import { chatRoutes } from "./routes/chat.ts";
import { jobRoutes } from "./routes/jobs.ts";
import { modelRoutes } from "./routes/models.ts";
import { statusRoutes } from "./routes/status.ts";

/** The HTTP service. Holds no state of any job: every replica answers for every job from the record. */
export function openApi(deps: ApiDeps): FastifyInstance {
  const { config, random, log } = deps;
  const app = fastify({ logger: false, bodyLimit: config.bodyMaxBytes, genReqId: () => random.id("req_"), forceCloseConnections: true });
  app.removeAllContentTypeParsers();
  app.addContentTypeParser("application/json", { parseAs: "buffer" }, (_, raw, done) => {
    try {
      done(null, readJsonBody(raw as Buffer));
    } catch (error) {
      done(error as Error);
    }
  });
  app.addHook("onRequest", async (request, reply) => {
    reply.header("x-request-id", request.id).header("openai-version", "2020-10-01");
    if (request.url.startsWith("/v1/")) deps.authenticate(request.headers);
  });
  app.addHook("onResponse", async (request, reply) => {
    if (request.method === "POST" || reply.statusCode >= 500) {
      log.info(
        { request: request.id, route: request.routeOptions.url, status: reply.statusCode, ms: Math.round(reply.elapsedTime) },
        "answered",
      );
    }
  });
  app.setErrorHandler((thrown, request, reply) => {
    const error = fromHttpLayer(thrown);
    if (error.http >= 500) log.error({ request: request.id, code: error.code, err: error.cause ?? error }, "request failed");
    return reply.code(error.http).headers(retryHeaders(error)).send(errorBody(error));
  });
  app.setNotFoundHandler((request) => {
    throw new ServingError("NOT_FOUND", `no route ${request.method} ${request.url.split("?", 1)[0]}`, { apiCode: "unknown_url" });
  });
  chatRoutes(app, deps);
  jobRoutes(app, deps);
  modelRoutes(app, deps);
  statusRoutes(app, deps);
  return app;
}

const utf8 = new TextDecoder("utf-8", { fatal: true });

function readJsonBody(bytes: Buffer): Body {
  let raw: string;
  try {
    raw = utf8.decode(bytes);
  } catch {
    throw new ServingError("INVALID_REQUEST", "the body is not valid UTF-8", { apiCode: "invalid_encoding" });
  }
  try {
    return { raw, json: JSON.parse(raw) };
  } catch (error) {
    throw new ServingError("INVALID_REQUEST", `the body is not valid JSON: ${(error as Error).message}`, { apiCode: "invalid_json" });
  }
}
