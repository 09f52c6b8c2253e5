import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { expect, test } from "vitest";
import { jobEvents, openClient } from "../../../services/cli/client.ts";

/** What a client sees of a server that answers like this. */
async function against<T>(answer: RequestListener, use: (url: string) => Promise<T>): Promise<T> {
  const server = createServer(answer).listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  try {
    return await use(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

const collect = async (url: string) => {
  const names: string[] = [];
  for await (const { name, done } of jobEvents(openClient(url, undefined), "job_1")) names.push(`${name} ${done ?? ""}`.trim());
  return names;
};

test("events of a job come one by one, comments and cuts between chunks do not matter", async () => {
  const names = await against((_, response) => {
    response.write("event: claimed\ndata: {}\n\n: waiting\n\nevent: prog");
    setImmediate(() => response.end('ress\nid: job_1:3\ndata: {"done": 5}\n\n'));
  }, collect);
  expect(names).toEqual(["claimed", "progress 5"]);
});

test("what the server says in band, a broken connection and a refusal each reach the user in words", async () => {
  const inBand = against((_, response) => response.end('event: error\ndata: {"error":{"message":"shutting down"}}\n\n'), collect);
  await expect(inBand).rejects.toMatchObject({ code: "UNAVAILABLE", message: "job_1: shutting down" });
  const broken = against((_, response) => {
    response.write("event: claimed\ndata: {}\n\n");
    setImmediate(() => response.destroy());
  }, collect);
  await expect(broken).rejects.toMatchObject({ code: "UNAVAILABLE", message: expect.stringContaining("jobs go on") });
  const refused = against((_, response) => response.writeHead(503).end('{"error":{"message":"no record"}}'), collect);
  await expect(refused).rejects.toMatchObject({ code: "UNAVAILABLE", message: "no record" });
});

test.each(["localhost:8000", "ftp://host", "host", ""])("%j is no URL of an API, and that is said before anything is asked", (url) => {
  expect(() => openClient(url, undefined)).toThrow("--url takes one like http://127.0.0.1:8000");
});

test.each([
  [400, "INVALID_REQUEST"],
  [401, "UNAUTHORIZED"],
  [404, "NOT_FOUND"],
  [429, "OVERLOADED"],
  [502, "UNAVAILABLE"],
])("a %d is %s to the commands", async (status, code) => {
  const refused = against(
    (_, response) => response.writeHead(status).end('{"error":{"message":"no"}}'),
    (url) => openClient(url, undefined).get("/v1/jobs"),
  );
  await expect(refused).rejects.toMatchObject({ code, message: "no" });
});

test("an answer that is no JSON is not of a longshore", async () => {
  const page = against(
    (_, response) => response.end("<html>"),
    (url) => openClient(url, undefined).get("/v1/jobs"),
  );
  await expect(page).rejects.toMatchObject({ code: "UNAVAILABLE", message: expect.stringContaining("is a longshore there?") });
});
