import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from "fastify";
import { refusal, ServingError } from "../../shared/runtime/errors.ts";
import { anthropicErrors, isAnthropic } from "../anthropic/errors.ts";
import { countAnswers } from "../count-answers.ts";
import type { ApiDeps } from "../deps.ts";
import { fromConnection, fromHttpLayer, openaiErrors, rawAnswer, retryHeaders } from "../errors.ts";
import { rateHeaders } from "../keys/rate-headers.ts";
import { batchRoutes } from "../routes/batches.ts";
import { chatRoutes } from "../routes/chat.ts";
import { fileRoutes } from "../routes/files.ts";
import { jobRoutes } from "../routes/jobs.ts";
import { messageRoutes } from "../routes/messages.ts";
import { modelRoutes } from "../routes/models.ts";
import { openApiRoute } from "../routes/openapi.ts";
import { responseRoutes } from "../routes/responses.ts";
import { isProbe, statusRoutes } from "../routes/status.ts";
import { tlsOf } from "../tls.ts";
import { NO_BODY, readBody, takeRoom, UPLOAD_MS } from "./body.ts";
import { Lines } from "./connection.ts";
import { HANDSHAKE_MS } from "./handshakes.ts";
import { linger } from "./linger.ts";
import { stalledMs } from "./sse.ts";
import { watchBody } from "./unfinished.ts";

/** What is being answered when the process stops has this long to be told so. */
export const LAST_WORDS_MS = 250;

/** The HTTP service. Holds no state of any job: every replica answers for every job from the record. */
export function openHttp(deps: ApiDeps): FastifyInstance {
  const { config, random, log } = deps;
  const answered = countAnswers(deps);
  const tls = tlsOf(config);
  const lines = new Lines();
  const app = fastify({
    ...{ http: OURS_TO_REFUSE, https: tls && { ...tls, handshakeTimeout: HANDSHAKE_MS, ...OURS_TO_REFUSE } },
    logger: false,
    bodyLimit: config.bodyMaxBytes,
    requestTimeout: UPLOAD_MS,
    return503OnClosing: false, // the hook below says it in our words
    genReqId: () => random.id("req_"),
    frameworkErrors: (thrown, request, reply) => {
      void answerError(thrown, request, head(request, reply));
      answered(NO_ROUTE, String(reply.statusCode)); // no hook hears of it
    },
    clientErrorHandler: (thrown, socket) => {
      if (NO_TLS.test(thrown.code)) return void socket.destroy();
      const left = thrown.code === LEFT;
      lines.breakOff(socket, left, () => {
        const error = fromConnection(thrown);
        socket.write(rawAnswer(error, random.id("req_")));
        if (!left) answered(NO_ROUTE, String(openaiErrors.status(error)));
      });
    },
  });
  app.decorateRequest("caller", null);
  app.decorateRequest("bodyShare", null);
  app.removeAllContentTypeParsers();
  app.addContentTypeParser("application/json", { parseAs: "buffer" }, async (request: FastifyRequest, bytes: Buffer) =>
    readBody(request, bytes),
  );
  app.server.on("checkExpectation", app.routing); // what is expected of it beyond a hundred-continue, it need not hear of
  app.addHook("onRequest", (request, reply, next) => lines.takeTurn(request, head(request, reply), next));
  app.addHook("onRequest", async (request) => {
    deps.stopping.throwIfAborted();
    requireHost(request);
    // By the route that was found: the same path can be spelled in many ways.
    if ((request.routeOptions.url ?? request.url).startsWith("/v1/"))
      request.caller = deps.identify(request.headers, isAnthropic(request) ? "x-api-key: KEY" : undefined);
  });
  app.addHook("preParsing", async (request, reply, payload) => {
    if (request.is404) throw unknownUrl(request); // whoever sends it
    watchBody(request, reply, deps.stopping, (error) => {
      request.raw.socket.write(rawAnswer(error, request.id, formOf(request)));
      answered(routeOf(request), String(formOf(request).status(error)));
    });
    return request.caller === null ? payload : takeRoom(deps.bodies, request, reply, payload, config.bodyMaxBytes);
  });
  app.addHook("preValidation", async (request) => {
    request.body ??= NO_BODY;
  });
  app.addHook("onSend", async (request, reply) => {
    reply.raw.setTimeout(stalledMs(config), () => reply.raw.destroy());
    // Whoever stands in line behind it knows by that that he was not begun (RFC 9112, 9.6). A body that is still read comes first.
    if (deps.stopping.aborted && !reply.hasHeader("connection")) reply.header("connection", "close");
    reply.header("openai-processing-ms", Math.round(reply.elapsedTime)).headers(rateHeaders(deps, request));
  });
  app.addHook("onResponse", async (request, reply) => {
    answered(routeOf(request), String(reply.statusCode));
    const isOurs = reply.statusCode >= 500 && reply.statusCode !== 503; // many at once are answered 503, and one is told of
    if (request.method === "POST" || isOurs) {
      log.info(
        { request: request.id, route: request.routeOptions.url, status: reply.statusCode, ms: Math.round(reply.elapsedTime) },
        "answered",
      );
    }
  });
  app.addHook("preClose", () => lines.answered(deps.clock, LAST_WORDS_MS));
  const answerError = (thrown: unknown, request: FastifyRequest, reply: FastifyReply) => {
    const error = leftAmidBody(thrown, request) ?? fromHttpLayer(thrown, config.bodyMaxBytes);
    if (error.code === "INTERNAL" || !isProbe(request)) deps.failures.tell("request failed", { request: request.id }, error);
    linger(request, reply);
    const form = formOf(request);
    return reply.code(form.status(error)).headers(retryHeaders(error)).send(form.body(error, request.id));
  };
  app.setErrorHandler(answerError);
  app.setNotFoundHandler((request) => {
    throw unknownUrl(request);
  });
  openApiRoute(app);
  chatRoutes(app, deps);
  messageRoutes(app, deps);
  responseRoutes(app, deps);
  fileRoutes(app, deps);
  batchRoutes(app, deps);
  jobRoutes(app, deps);
  modelRoutes(app, deps);
  statusRoutes(app, deps);
  return app;
}

/** Whoever leaves amid a body has done nothing wrong, and neither have we. */
const leftAmidBody = (thrown: unknown, { raw }: FastifyRequest) =>
  thrown === raw.errored ? new ServingError("CANCELLED", "the client disconnected while sending its body", { cause: thrown }) : null;

/** What every answer begins with, whatever it is. */
const head = (request: FastifyRequest, reply: FastifyReply): FastifyReply =>
  reply.header("x-request-id", request.id).header("request-id", request.id).header("openai-version", "2020-10-01");

/** Node would answer these itself, without an id and in no form of ours. */
const OURS_TO_REFUSE = { requireHostHeader: false };

function requireHost({ raw }: FastifyRequest): void {
  if (raw.httpVersion === "1.1" && raw.headers.host === undefined)
    throw refusal("HTTP/1.1 requires a Host header", {
      apiCode: "invalid_request",
    });
}

const unknownUrl = ({ method, url }: FastifyRequest) =>
  new ServingError("NOT_FOUND", `no route ${method} ${url.split("?", 1)[0]}`, { apiCode: "unknown_url" });

/** A client that closed in the middle of a body: it had its answer, or reads none. */
const LEFT = "HPE_INVALID_EOF_STATE";

/** Nothing can be said where TLS did not come about, or broke. */
const NO_TLS = /^ERR_(SSL|TLS)_/;

/** What answers are counted by where no route was found. */
const NO_ROUTE = "none";
const routeOf = (request: FastifyRequest) => (request.is404 ? NO_ROUTE : `${request.method} ${request.routeOptions.url}`);

const formOf = (request: FastifyRequest) => (isAnthropic(request) ? anthropicErrors : openaiErrors);
