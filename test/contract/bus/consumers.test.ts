import { connect, type NatsConnection } from "nats";
import { afterAll, beforeAll, expect, test } from "vitest";
import { progress, submitAndClaim } from "../../support/bus.ts";
import { freshRecord } from "../../support/fresh-record.ts";

// A server of 2.9 keeps some of every consumer that was ever made, so who looks again and again is to make none.

const { fresh, natsUrl } = freshRecord({});

const LOOKS = 20;
/** More than are read one by one. */
const MANY = 100;

let watcher: NatsConnection;
let made: string[] = [];

beforeAll(async () => {
  watcher = await connect({ servers: natsUrl() });
  watcher.subscribe("$JS.API.CONSUMER.>", { callback: (_, { subject }) => void (/CREATE/.test(subject) && made.push(subject)) });
  await watcher.flush();
});
afterAll(() => watcher.close());

/** Consumers that the server was asked for while `act` was under way. */
async function madeBy(act: () => Promise<unknown>): Promise<number> {
  made = [];
  await act();
  await watcher.flush(); // what was asked before was seen then
  return made.length;
}

async function again(look: () => Promise<unknown>): Promise<void> {
  for (let i = 0; i < LOOKS; i++) await look();
}

const numbers = Array.from({ length: MANY }, (_, i) => String(i).padStart(3, "0"));

test("looks at beats make no consumer, but for roles of many, and miss nobody", async () => {
  const { registry } = await fresh("nats");
  const seen = async (role: string) => [...(await registry.beats(role))].toSorted();
  for (const id of ["one", "two"]) await registry.beat("prefill", id, `${id} lives`);
  const looks = await madeBy(() =>
    again(async () => {
      expect(await seen("prefill")).toEqual([
        ["one", "one lives"],
        ["two", "two lives"],
      ]);
      expect(await seen("decode")).toEqual([]);
    }),
  );
  expect(looks).toBe(0);
  for (const id of numbers) await registry.beat("crowd", id, id);
  expect(await madeBy(async () => expect(await seen("crowd")).toEqual(numbers.map((id) => [id, id])))).toBe(1);
});

test("looks at what is new make no consumer, but where it is much, and bring all of it once and in order", async () => {
  const { registry, documents } = await fresh("nats");
  const newNotes = async (after: number, max = 500) => (await registry.notes(after, max)).map(({ jobId }) => jobId);
  await registry.noteJob("before", "");
  const place = (await registry.notes(0, 1))[0]!.place;
  for (const jobId of ["a", "b"]) await registry.noteJob(jobId, "");
  for (const jobId of ["a", "b"]) await registry.markCancelled(jobId, "client");
  for (const id of ["a", "b"]) {
    await documents.put("batch", "t", id, "text", 0);
    await documents.put("file", "t", id, "text", 0);
  }
  await registry.keepKey("a", "key");
  const looks = await madeBy(() =>
    again(async () => {
      expect(await newNotes(place)).toEqual(["a", "b"]);
      expect((await registry.cancelMarks(0, 500)).map(({ jobId }) => jobId)).toEqual(["a", "b"]);
      expect((await documents.behind("batch", null, 0, 500)).map(({ id }) => id)).toEqual(["a", "b"]);
      expect(await documents.behind("event", null, 0, 500)).toEqual([]);
      expect((await registry.keptKeys(0, 500)).map(({ id }) => id)).toEqual(["a"]);
    }),
  );
  expect(looks).toBe(0);
  for (const jobId of numbers) await registry.noteJob(jobId, "");
  expect(await madeBy(async () => expect(await newNotes(place)).toEqual(["a", "b", ...numbers]))).toBe(1);
  expect(await madeBy(async () => expect(await newNotes(place, 50)).toEqual(["a", "b", ...numbers.slice(0, 48)]))).toBe(1);
});

test("logs and prompts that are short are read without a consumer", async () => {
  const bus = await fresh("nats");
  const { log, payloads } = bus;
  const claim = await submitAndClaim(bus, "job");
  for (let i = 0; i < 10; i++) await claim.append(progress(i));
  await payloads.put("prompt", new Uint8Array(1_000).fill(7));
  const looks = await madeBy(() =>
    again(async () => {
      expect(await log.read("job")).toHaveLength(12);
      expect((await log.storedTimes("job")).size).toBe(12);
      expect(await payloads.get("prompt")).toHaveLength(1_000);
    }),
  );
  expect(looks).toBe(0);
  for (let i = 0; i < MANY; i++) await claim.append(progress(i));
  expect(await madeBy(async () => expect(await log.read("job")).toHaveLength(12 + MANY))).toBe(1);
});

test("what is new comes in pages of bounded size also where the first of them are small", async () => {
  const { documents } = await fresh("nats");
  const sizes = [...Array<number>(40).fill(1_000), ...Array<number>(8).fill(700_000)];
  for (const [i, size] of sizes.entries()) await documents.put("batch", "t", String(i), "x".repeat(size), 0);
  const found: number[] = [];
  for (let place = 0, page = await documents.behind("batch", null, 0, 500); page.length > 0; ) {
    expect(page.reduce((sum, { text }) => sum + text.length, 0)).toBeLessThan(4_194_304);
    found.push(...page.map(({ id }) => Number(id)));
    place = page.at(-1)!.place;
    page = await documents.behind("batch", null, place, 500);
  }
  expect(found).toEqual([...sizes.keys()]);
});
