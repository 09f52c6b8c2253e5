import { z } from "zod";
import { type Operation, operations } from "./operations.ts";

/** The OpenAPI 3.1 document of `routes` (`GET /v1/models`). Bodies are the schemas that requests are checked by, so they cannot differ. */
export const openApiDocument = (version: string, routes: readonly string[]): object => ({
  openapi: "3.1.0",
  info: {
    title: "longshore",
    version,
    description:
      "DeepSeek-V4-architecture models on hardware you own. Unknown fields are ignored; a known one of the wrong type is a 400 that names it.",
    license: { name: "Apache-2.0", identifier: "Apache-2.0" },
  },
  security: [{ bearer: [] }, { apiKey: [] }],
  paths: paths(routes),
  components: {
    securitySchemes: {
      bearer: { type: "http", scheme: "bearer" },
      apiKey: { type: "apiKey", in: "header", name: "x-api-key" },
    },
    responses: {
      Error: { description: "What was wrong, and whether to try again", content: { "application/json": { schema: errorSchema } } },
    },
  },
});

const UNTOLD: Operation = { tag: "operations", summary: "", answer: "" };
const text = { type: "string" };
const errorSchema = {
  type: "object",
  required: ["error"],
  properties: {
    error: {
      type: "object",
      required: ["message", "type"],
      properties: { message: text, type: text, param: { type: ["string", "null"] }, code: { type: ["string", "null"] } },
    },
  },
};

function paths(routes: readonly string[]): Record<string, Record<string, object>> {
  const found: Record<string, Record<string, object>> = {};
  for (const route of routes) {
    const operation = operations[route] ?? UNTOLD;
    const [method, url] = route.split(" ") as [string, string];
    const path = url.replace(/:(\w+)/g, "{$1}");
    found[path] = { ...found[path], [method.toLowerCase()]: described(method, path, operation) };
  }
  return found;
}

function described(
  method: string,
  path: string,
  { tag, summary, body, bodyType = "application/json", query = {}, headers = {}, status = 200, answer, streams }: Operation,
): object {
  const at =
    (place: string) =>
    ([name, description]: readonly [string, string]) => ({ name, in: place, description, schema: text });
  const inPath = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => ({ name, in: "path", required: true, schema: text }));
  const content = {
    ...(answer === "" ? {} : { [path === "/metrics" ? "text/plain" : "application/json"]: {} }),
    ...(streams === undefined ? {} : { "text/event-stream": {} }),
  };
  const description = [answer, streams === undefined ? "" : `${answer === "" ? "" : "With stream: "}${streams}`]
    .filter((part) => part !== "")
    .join(". ");
  return {
    operationId: `${method.toLowerCase()}${path.replace("/v1", "").replace(/[^a-z]+(\w?)/gi, (_, letter: string) => letter.toUpperCase())}`,
    tags: [tag],
    summary,
    ...(path.startsWith("/v1/") ? {} : { security: [] }),
    parameters: [...inPath, ...Object.entries(query).map(at("query")), ...Object.entries(headers).map(at("header"))],
    ...(body === undefined ? {} : { requestBody: { required: true, content: { [bodyType]: { schema: schemaOf(body) } } } }),
    responses: { [status]: { description, content }, default: { $ref: "#/components/responses/Error" } },
  };
}

/** What may be sent, not what we make of it. */
function schemaOf(body: z.ZodType): object {
  const { $schema: _, ...schema } = z.toJSONSchema(body, { io: "input", unrepresentable: "any" });
  return schema;
}
