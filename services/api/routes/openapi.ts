import type { FastifyInstance } from "fastify";
import { packageVersion } from "../../shared/runtime/package-root.ts";
import { openApiDocument } from "../openapi/document.ts";

/** GET /openapi.json: every route that is registered after this. */
export function openApiRoute(app: FastifyInstance): void {
  const routes: string[] = [];
  const version = packageVersion();
  app.get("/openapi.json", async () => openApiDocument(version, routes));
  app.addHook("onRoute", ({ method, url }) => {
    for (const name of [method].flat()) if (name !== "HEAD") routes.push(`${name} ${url.replace("*", ":id")}`);
  });
}
