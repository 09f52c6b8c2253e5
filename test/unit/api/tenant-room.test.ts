import { createHash } from "node:crypto";
import OpenAI, { toFile } from "openai";
import { afterEach, expect, test } from "vitest";
import type { Caller } from "../../../services/api/auth.ts";
import { requireRoom } from "../../../services/api/files/tenant-room.ts";
import type { Bus } from "../../../services/shared/bus/contract.ts";
import { openBus } from "../../../services/shared/bus/open.ts";
import { type TestApi, testApi } from "../../support/api.ts";
import { overriding } from "../../support/overriding.ts";

const MIB = 1_048_576;
const digest = (key: string) => createHash("sha256").update(key).digest("hex");

let bus: Bus;
let api: TestApi;
afterEach(() => api.close());

async function start(
  room: { readonly documentsMaxBytes?: number; readonly filesMaxBytes?: number },
  apiKeys = ["a", "b", "c"],
): Promise<void> {
  bus = openBus({ url: "memory:", ...room });
  api = await testApi({ apiKeys: apiKeys.map(digest).join() }, bus);
}
const clientOf = (key: string) => new OpenAI({ baseURL: `${api.url}/v1`, apiKey: key, maxRetries: 0 });
const upload = async (key: string, bytes: number) =>
  (await clientOf(key).files.create({ file: await toFile(Buffer.alloc(bytes, "x"), "in.jsonl"), purpose: "batch" })).id;
const ask = (key: string, input_file_id: string, more: object = {}, options: object = {}) =>
  clientOf(key).batches.create({ input_file_id, endpoint: "/v1/completions", completion_window: "24h", ...more }, options);

/** What was made until one was refused, and why that was. */
async function untilRefused<T>(make: () => Promise<T>): Promise<readonly [readonly T[], InstanceType<typeof OpenAI.APIError>]> {
  const made: T[] = [];
  for (;;) {
    try {
      made.push(await make());
    } catch (error) {
      return [made, error as InstanceType<typeof OpenAI.APIError>];
    }
  }
}

/** As a coordinator ends them that finds them to be none. */
async function failAll(key: string, problems: readonly object[]): Promise<void> {
  const tenant = digest(key).slice(0, 16);
  for (const { id, text, place } of await bus.documents.behind("batch", tenant, 0, 1_000))
    await bus.documents.put("batch", tenant, id, JSON.stringify({ ...JSON.parse(text), status: "failed", endedAt: 1, problems }), place);
}

test("tenants who create batches for as long as they may leave room for the next one, and may go on where theirs end small", async () => {
  await start({ documentsMaxBytes: 2 * MIB });
  const input = { a: await upload("a", 3), b: await upload("b", 3), c: await upload("c", 3) };
  const [ofA, why] = await untilRefused(() => ask("a", input.a));
  expect(why).toMatchObject({ status: 429, message: expect.stringMatching(/wait for batches to end/) });
  const [ofB] = await untilRefused(() => ask("b", input.b));
  expect(ofB.length).toBeGreaterThan(ofA.length / 2);
  expect((await ask("c", input.c)).status).toBe("validating");
  await failAll("a", []);
  expect((await untilRefused(() => ask("a", input.a)))[0].length).toBeGreaterThan(ofA.length / 2);
});

test("whoever's batches failed with all problems there may be is not kept from the next one: he deletes them, and none that may run or was run", async () => {
  await start({ documentsMaxBytes: 2 * MIB });
  const input = await upload("a", 3);
  const [made] = await untilRefused(() => ask("a", input));
  await expect(clientOf("a").delete(`/batches/${made[0]!.id}`)).rejects.toMatchObject({ status: 409 });
  await failAll("a", [{ code: "invalid_json_line", message: "x".repeat(30_000), param: null, line: 1 }]);
  expect((await bus.documents.room()).bytes, "half of it").toBeGreaterThan(0.8 * MIB);
  expect((await bus.documents.room()).bytes).toBeLessThan(1.1 * MIB);
  const [more, why] = await untilRefused(() => ask("a", input));
  expect(more.length).toBeLessThan(5);
  expect(why).toMatchObject({
    status: 429,
    message: expect.stringMatching(/DELETE \/v1\/batches\/BATCH, for those whose request_counts\.total is 0/),
  });
  await expect(ask("b", await upload("b", 3))).resolves.toMatchObject({ status: "validating" });
  const { id } = made[0]!;
  await expect(clientOf("b").delete(`/batches/${id}`)).rejects.toMatchObject({ status: 404 });
  for (const { id } of made.slice(0, 9))
    expect(await clientOf("a").delete(`/batches/${id}`)).toEqual({ id, object: "batch", deleted: true });
  await expect(clientOf("a").batches.retrieve(id)).rejects.toMatchObject({ status: 404 });
  expect((await ask("a", input)).status).toBe("validating");
  const last = made.at(-1)!.id;
  const { tenant, text, place } = (await bus.documents.behind("batch", null, 0, 1_000)).find((document) => document.id === last)!;
  await bus.documents.put("batch", tenant, last, JSON.stringify({ ...JSON.parse(text), total: 5 }), place);
  await expect(clientOf("a").delete(`/batches/${last}`)).rejects.toMatchObject({
    status: 409,
    message: expect.stringMatching(/may have run/),
  });
});

test("a batch that was created is found again under its key, though its tenant may create no more", async () => {
  await start({ documentsMaxBytes: MIB });
  const input = await upload("a", 3);
  const keyed = { headers: { "Idempotency-Key": "key" } };
  const { id } = await ask("a", input, {}, keyed);
  await untilRefused(() => ask("a", input));
  expect((await ask("a", input, {}, keyed)).id).toBe(id);
  await expect(ask("a", input, {}, { headers: { "Idempotency-Key": "other" } })).rejects.toMatchObject({ status: 429 });
});

test("tenants who upload for as long as they may leave room for the next one; nothing stays of what is refused, and what is deleted makes room", async () => {
  await start({ filesMaxBytes: 8 * MIB });
  const [ofA, why] = await untilRefused(() => upload("a", MIB));
  expect(why).toMatchObject({ status: 429, message: expect.stringMatching(/DELETE \/v1\/files\/FILE/) });
  expect([ofA.length, (await bus.files.room()).bytes]).toEqual([4, 4 * MIB]);
  await expect(ask("a", ofA[0]!)).resolves.toMatchObject({ status: "validating" }); // as much as is left, and no more
  expect((await untilRefused(() => upload("b", MIB)))[0]).toHaveLength(2);
  await expect(ask("a", ofA[0]!)).rejects.toMatchObject({ status: 429 });
  await upload("c", MIB);
  for (const id of ofA.slice(1)) await clientOf("a").files.delete(id);
  await upload("a", MIB);
});

test("what a batch has written so far counts as its tenant's", async () => {
  await start({ filesMaxBytes: 8 * MIB });
  const { id } = await ask("a", await upload("a", MIB));
  const { tenant, text, place } = (await bus.documents.behind("batch", null, 0, 9))[0]!;
  await bus.files.put("part", new Uint8Array(3 * MIB));
  const output = { lines: 1, parts: [{ key: "part", bytes: 3 * MIB }] };
  await bus.documents.put(
    "batch",
    tenant,
    id,
    JSON.stringify({ ...JSON.parse(text), status: "in_progress", inProgressAt: 1, output }),
    place,
  );
  await expect(upload("a", 9)).rejects.toMatchObject({ status: 429 });
  await upload("b", MIB);
});

test("where there are no tenants to tell apart, all may be taken", async () => {
  await start({ filesMaxBytes: 3 * MIB }, []);
  for (let i = 0; i < 3; i++) await upload("any", MIB);
});

/** The kinds of documents that a look at the room of tenant `a` reads. */
async function lookedAt(asked: "batch" | "file"): Promise<readonly string[]> {
  const kinds: string[] = [];
  const documents = overriding(bus.documents, {
    behind: (kind, ...where) => {
      kinds.push(kind);
      return bus.documents.behind(kind, ...where);
    },
  });
  await requireRoom({ ...bus, documents }, { tenant: digest("a").slice(0, 16) } as Caller, asked).catch(() => {});
  return [...new Set(kinds)];
}

test("while either room is at most half full nobody's files are looked at, and for an upload nothing is", async () => {
  await start({ documentsMaxBytes: MIB, filesMaxBytes: 8 * MIB });
  const input = await upload("a", 3 * MIB);
  await ask("a", input);
  expect([await lookedAt("file"), await lookedAt("batch")]).toEqual([[], ["batch"]]);
  await upload("b", 2 * MIB);
  expect([await lookedAt("file"), await lookedAt("batch")]).toEqual([
    ["batch", "file"],
    ["batch", "file"],
  ]);
});

test("where documents take more than half, or open batches may come to it, they are looked at", async () => {
  await start({ documentsMaxBytes: MIB });
  const input = await upload("a", 3);
  await untilRefused(() => ask("a", input));
  expect([await lookedAt("file"), await lookedAt("batch")]).toEqual([[], ["batch", "file"]]);
  await bus.documents.put("file", "b", "x", "x".repeat(MIB / 2), 0);
  await expect(upload("a", 3)).rejects.toMatchObject({ status: 429, message: expect.stringMatching(/wait for batches to end/) });
});
