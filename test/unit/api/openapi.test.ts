import { afterAll, beforeAll, expect, test } from "vitest";
import { operations } from "../../../services/api/openapi/operations.ts";
import { type TestApi, testApi } from "../../support/api.ts";

interface Document {
  readonly openapi: string;
  readonly paths: Readonly<
    Record<
      string,
      Readonly<Record<string, { readonly operationId: string; readonly summary: string; readonly parameters: readonly { name: string }[] }>>
    >
  >;
}

let api: TestApi;
let document: Document;
beforeAll(async () => {
  api = await testApi();
  document = (await (await fetch(`${api.url}/openapi.json`)).json()) as Document;
});
afterAll(() => api.close());

test("the document tells every route there is, and no other", () => {
  const told = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(
      ([method, { summary }]) => [`${method.toUpperCase()} ${path.replace(/\{(\w+)\}/g, ":$1")}`, summary] as const,
    ),
  );
  expect(
    told.filter(([, summary]) => summary === "").map(([route]) => route),
    "routes without an entry in operations.ts",
  ).toEqual([]);
  expect(told.map(([route]) => route).sort()).toEqual(Object.keys(operations).sort());
});

test("every operation has a name of its own and names the parameters of its path", () => {
  const found = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.values(methods).map((operation) => ({ path, operation })),
  );
  expect(found).toHaveLength(Object.keys(operations).length);
  expect(new Set(found.map(({ operation }) => operation.operationId)).size).toBe(found.length);
  for (const { path, operation } of found) {
    const names = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
    expect(operation.parameters.map(({ name }) => name)).toEqual(expect.arrayContaining(names));
  }
});

test("a body is described by what it is checked by", () => {
  const { schema } = (
    document.paths["/v1/chat/completions"] as never as {
      post: { requestBody: { content: { "application/json": { schema: { properties: object; required: string[] } } } } };
    }
  ).post.requestBody.content["application/json"];
  expect(schema.required).toEqual(["model", "messages"]);
  expect(schema.properties).toMatchObject({ model: { type: "string" }, messages: { type: "array", minItems: 1 } });
});

test("references lead somewhere", () => {
  const references = [...JSON.stringify(document).matchAll(/"\$ref":"#\/([^"]+)"/g)].map(([, path]) => path!);
  expect(references.length).toBeGreaterThan(10);
  for (const path of references) {
    const target = path.split("/").reduce<unknown>((at, name) => (at as Record<string, unknown> | undefined)?.[name], document);
    expect(target, path).toBeDefined();
  }
});
