import { connect, type NatsConnection } from "nats";
import { afterAll, beforeAll, expect, test } from "vitest";
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
