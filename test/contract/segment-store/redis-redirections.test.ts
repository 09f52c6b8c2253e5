import { pino } from "pino";
import { expect, test, vi } from "vitest";
import { freePort } from "../../../services/cli/cluster/ports.ts";
import { systemClock } from "../../../services/shared/runtime/clock.ts";
import { slotOf } from "../../../services/shared/segments/redis/slots.ts";
import { freshStores, name, PIECE, stored } from "../../support/fresh-redis.ts";
import { fakeNode } from "../../support/impostor.ts";
import { sample } from "../../support/segments.ts";

const { openStore, get } = freshStores();
const value = sample("a", 10);
const slot = slotOf(name(value));

const ABSENT = "$-1\r\n";
const isMap = (command: readonly string[]) => command[0]!.toLowerCase() === "cluster";
const reads = (commands: readonly (readonly string[])[]) => commands.filter(([word]) => word === "GETEX").length;
const maps = (commands: readonly (readonly string[])[]) => commands.filter(isMap).length;
const mapTo = (port: number, host = "127.0.0.1") => `*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$${host.length}\r\n${host}\r\n:${port}\r\n`;
/** Each node has all the time it is given to tell the map, also where this machine stands still for a moment: nobody else is asked meanwhile. */
const patient = { ...systemClock, after: () => () => {} };
const unread = () => expect.fail("nobody is to ask this");

test("MOVED: asked again there at once, however many; the map is asked for once", async () => {
  const owner = await fakeNode((command) => (isMap(command) ? mapTo(owner.port) : ABSENT));
  const first = await fakeNode((command) => (isMap(command) ? mapTo(owner.port) : `-MOVED ${slot} 127.0.0.1:${owner.port}\r\n`));
  const store = openStore(first.url, { connections: 1, clock: patient });
  await Promise.all(Array.from({ length: 30 }, () => get(store, value)));
  await vi.waitFor(() => expect([...first.sockets].every((socket) => socket.destroyed)).toBe(true), { timeout: 20_000 }); // it has no slots
  await get(store, value);
  expect([reads(first.commands), reads(owner.commands), maps(first.commands) + maps(owner.commands)]).toEqual([30, 31, 1]);
  expect(store.stats()).toMatchObject({ misses: 31, failures: 0 });
  await store.close();
  await Promise.all([first.stop(), owner.stop()]);
});

test("MOVED without a host leads to another port of the same", async () => {
  const owner = await fakeNode((command) => (isMap(command) ? "-NOPERM no\r\n" : ABSENT));
  const first = await fakeNode((command) => (isMap(command) ? "-NOPERM no\r\n" : `-MOVED ${slot} :${owner.port}\r\n`));
  const told: string[] = [];
  const log = pino({}, { write: (line: string) => void told.push(JSON.parse(line).detail) });
  const store = openStore(first.url, { log });
  for (let i = 0; i < 3; i++) await get(store, value);
  await vi.waitFor(() => expect(told).toEqual(["NOPERM no"]), { timeout: 20_000 });
  expect(store.stats()).toMatchObject({ misses: 3, failures: 0 });
  await store.close();
  await Promise.all([first.stop(), owner.stop()]);
});

test("nodes that send each other a command: five are asked, and it is a failure", async () => {
  const nodes = [await fakeNode(to(1)), await fakeNode(to(0))];
  function to(other: number) {
    return (command: readonly string[]): string => (isMap(command) ? "-ERR no\r\n" : `-MOVED ${slot} 127.0.0.1:${nodes[other]!.port}\r\n`);
  }
  const store = openStore(nodes[0]!.url);
  expect(await get(store, value)).toBeNull();
  expect(nodes.map(({ commands }) => reads(commands))).toEqual([3, 2]);
  expect(store.stats().failuresBy).toEqual({ refused: 1 });
  await store.close();
  await Promise.all(nodes.map((node) => node.stop()));
});

test("a place where nothing can be, in a redirection or in the map: a failure, and the map is asked for again", async () => {
  const ports = { moved: 70_000, map: 1 };
  const node = await fakeNode((command) => (isMap(command) ? mapTo(ports.map) : `-MOVED ${slot} 127.0.0.1:${ports.moved}\r\n`));
  const store = openStore(node.url);
  expect([await get(store, value), await store.countPrefix([value.key])]).toEqual([null, 0]);
  expect(store.stats().failuresBy).toEqual({ protocol: 2 });

  Object.assign(ports, { moved: node.port, map: 70_000 });
  await get(store, value);
  await vi.waitFor(() => expect(maps(node.commands)).toBe(1), { timeout: 20_000 });
  await vi.waitFor(
    async () => {
      await get(store, value);
      expect(maps(node.commands)).toBe(2);
    },
    { timeout: 20_000 },
  );
  await store.close();
  await node.stop();
});

/** A cluster of one master, `home`, which has `slots` and answers all but the map by `answer`; the first server of the setting is away. */
async function storeAt(answer: (command: readonly string[], port: number) => string, slots = { first: 0, last: 16_383 }) {
  const home = await fakeNode((command, { port }) =>
    isMap(command) ? `*1\r\n*3\r\n:${slots.first}\r\n:${slots.last}\r\n*2\r\n$9\r\n127.0.0.1\r\n:${port}\r\n` : answer(command, port),
  );
  const told: { msg: string; operation?: string; server?: string; reason?: string }[] = [];
  const log = pino({}, { write: (line: string) => void told.push(JSON.parse(line)) });
  return {
    home,
    store: openStore(`redis://127.0.0.1:1,${home.url}`, { log, clock: patient }),
    tell: () => told.map(({ msg, operation, server, reason }) => [msg, operation, server, reason].filter(Boolean).join(" ")),
  };
}

const other = sample("b", 10);
const isOf = (command: readonly string[], { key }: { key: string }) => command.some((word) => word.includes(key));
const rounds = async (store: ReturnType<typeof openStore>) => {
  for (let round = 0; round < 5; round++) {
    for (const each of [value, other]) await get(store, each);
    for (const each of [value, other]) await store.claim(each.key, "a", 1_000);
  }
};
const works = async (store: ReturnType<typeof openStore>) => {
  await get(store, value);
  expect(store.stats().misses).toBe(1);
};
const FAILS = "the segment store fails: work goes on without it";
const WORKS = "the segment store works again";

test("slots without a master: told once for each kind of work, and the other keys of who says so work and are counted", async () => {
  let isWhole = false;
  const answer = (command: readonly string[]) =>
    isOf(command, value) && !isWhole ? "-CLUSTERDOWN Hash slot not served\r\n" : command[0] === "GETEX" ? ABSENT : ":1\r\n";
  const otherSlot = slotOf(name(other));
  const slots = otherSlot < slot ? { first: 0, last: slot - 1 } : { first: slot + 1, last: 16_383 };
  const { home, store, tell } = await storeAt(answer, slots);
  await vi.waitFor(async () => expect(await store.countPrefix([other.key])).toBe(1), { timeout: 20_000 });
  const before = tell().length;
  await rounds(store);
  expect(await store.countPrefix([other.key, value.key])).toBe(1);
  const unserved = ["get", "claim", "count"].map((operation) => `${FAILS} ${operation} slots without a master unserved`);
  expect(tell().slice(before)).toEqual(unserved);
  isWhole = true;
  Object.assign(slots, { first: 0, last: 16_383 });
  await vi.waitFor(
    async () => {
      await get(store, value);
      expect(tell().slice(before + 3)).toEqual(
        ["get", "count", "claim"].map((operation) => `${WORKS} ${operation} slots without a master`),
      );
    },
    { timeout: 20_000 },
  );
  await store.close();
  await home.stop();
});

test("MOVED, and no map to be had: the next command of that slot, and no other, goes where this one was sent", async () => {
  let hasMap = true;
  const owner = await fakeNode((command) => (isMap(command) ? "-ERR no\r\n" : ABSENT));
  const home = await fakeNode((command, { port }) =>
    isMap(command)
      ? hasMap
        ? mapTo(port)
        : "-ERR no\r\n"
      : isOf(command, value) && !hasMap
        ? `-MOVED ${slot} 127.0.0.1:${owner.port}\r\n`
        : ABSENT,
  );
  const store = openStore(`redis://127.0.0.1:1,${home.url}`);
  await vi.waitFor(() => works(store), { timeout: 20_000 });
  hasMap = false;
  const before = reads(home.commands);
  for (let i = 0; i < 3; i++) for (const each of [value, other]) await get(store, each);
  expect([reads(home.commands) - before, reads(owner.commands)]).toEqual([4, 3]);
  await store.close();
  await Promise.all([home.stop(), owner.stop()]);
});

test.each([
  ["answers READONLY", () => "-READONLY You can't write against a read only replica.\r\n"],
  ["is late", () => ""],
])("a master that %s: the map is asked for, from another if there is one", async (_, lost) => {
  let [isLost, nowMs] = [false, 0];
  const successor = await fakeNode((command) => (isMap(command) ? mapTo(successor.port) : ABSENT));
  const master = await fakeNode((command) => (isMap(command) ? mapTo(master.port) : isLost ? lost() : ABSENT));
  const clock = { ...patient, monotonicMs: () => nowMs };
  const store = openStore(`redis://127.0.0.1:1,${master.url},${successor.url}`, { timeoutMs: 500, clock });
  await vi.waitFor(() => works(store), { timeout: 20_000 });
  isLost = true;
  nowMs += 1_000; // by now it may be asked for again
  expect(await get(store, value)).toBeNull();
  await vi.waitFor(() => expect(maps(successor.commands)).toBe(1), { timeout: 20_000 });
  expect([maps(master.commands), reads(successor.commands)]).toEqual([1, 0]);
  await store.close();
  await Promise.all([master.stop(), successor.stop()]);
});

test("the map is asked for at each master in turn, at the servers of the setting where none tells, and at a lost one last", async () => {
  let [tells, nowMs] = [true, 0];
  const order: string[] = [];
  const node = (who: string) =>
    fakeNode((command): string => {
      if (!isMap(command)) return "-CLUSTERDOWN Hash slot not served\r\n";
      order.push(who);
      return tells ? `*2\r\n${rangeOf(0, 0, "one")}${rangeOf(1, 1, "two")}` : "-ERR no\r\n";
    });
  const nodes = { seed: await node("seed"), one: await node("one"), two: await node("two") };
  function rangeOf(first: number, last: number, who: "one" | "two"): string {
    return `*3\r\n:${first}\r\n:${last}\r\n*2\r\n$9\r\n127.0.0.1\r\n:${nodes[who].port}\r\n`;
  }
  const told: string[] = [];
  const log = pino({}, { write: (line: string) => void told.push(JSON.parse(line).msg) });
  const clock = { ...patient, monotonicMs: () => nowMs };
  const store = openStore(`${nodes.seed.url},redis://127.0.0.1:1`, { log, clock });
  const asked = async (count: number) => {
    await vi.waitFor(
      async () => {
        if (order.length < count) nowMs += 1_000;
        await get(store, value); // in no slot that has a master
        expect(order.length).toBeGreaterThanOrEqual(count);
      },
      { timeout: 20_000 },
    );
    return order.splice(0);
  };
  expect(await asked(1)).toEqual(["seed"]);
  const turns = [await asked(1), await asked(1), await asked(1), await asked(1)].flat();
  expect(turns).toEqual(turns[0] === "one" ? ["one", "two", "one", "two"] : ["two", "one", "two", "one"]);
  tells = false;
  const all = await asked(3);
  expect([all.slice(0, 2).sort(), all[2]]).toEqual([["one", "two"], "seed"]);
  await vi.waitFor(() => expect(told).toContain("no node of the Redis Cluster answers with a map of its slots"), { timeout: 20_000 });
  await store.close();
  await Promise.all(Object.values(nodes).map((each) => each.stop()));
});

test("a node that stands still is asked alone for a moment only, though it has a deadline of a minute", async () => {
  const still = await fakeNode(() => "");
  const owner = await fakeNode((command) => (isMap(command) ? mapTo(owner.port) : ABSENT));
  const told: string[] = [];
  const log = pino({}, { write: (line: string) => void told.push(JSON.parse(line).msg) });
  const store = openStore(`${still.url},${owner.url}`, { log, timeoutMs: 60_000 });
  await vi.waitFor(() => expect(told).toEqual(["a segment store server is no longer used"]), { timeout: 20_000 });
  expect(await get(store, value)).toBeNull();
  expect([maps(still.commands), store.stats().misses, store.stats().failures]).toEqual([1, 1, 0]);
  await store.close();
  await Promise.all([still.stop(), owner.stop()]);
});

test("a master that has no slots any more is left only once what moves there has been moved, also by way of another", async () => {
  const large = sample("a", PIECE + 10);
  const bytes = stored(large);
  const first = bytes.length - 10;
  const bulk = (piece: Buffer) => Buffer.concat([Buffer.from(`$${piece.length}\r\n`), piece, Buffer.from("\r\n")]);
  let give = (_reply: Buffer) => {};
  const importing = await fakeNode((command) =>
    command[0] === "ASKING"
      ? "+OK\r\n"
      : new Promise<Buffer>((resolve) => {
          give = resolve;
        }),
  );
  const owner = await fakeNode((command) => (isMap(command) ? mapTo(owner.port) : ABSENT));
  const left = await fakeNode((command) => {
    if (isMap(command)) return mapTo(owner.port);
    if (!isOf(command, large)) return `-MOVED ${slotOf(name(other))} 127.0.0.1:${owner.port}\r\n`;
    return command[1] === name(large) ? `-ASK ${slotOf(name(large))} 127.0.0.1:${importing.port}\r\n` : bulk(bytes.subarray(first));
  });
  const told: string[] = [];
  const log = pino({}, { write: (line: string) => void told.push(JSON.parse(line).server) });
  const store = openStore(left.url, { log, connections: 1 });
  const reading = get(store, large);
  await vi.waitFor(() => expect(reads(importing.commands)).toBe(1), { timeout: 20_000 });
  await get(store, other);
  await vi.waitFor(() => expect(told).toEqual([`127.0.0.1:${left.port}`]), { timeout: 20_000 });
  await new Promise((resolve) => setImmediate(() => setImmediate(resolve))); // what is idle would be closed by now
  give(bulk(bytes.subarray(0, first)));
  expect(await reading).toBe(true);
  await vi.waitFor(() => expect([...left.sockets].every((socket) => socket.destroyed)).toBe(true), { timeout: 20_000 });
  await store.close();
  await Promise.all([left.stop(), importing.stop(), owner.stop()]);
});

test("what fails where a command was sent on to is told of that server, once", async () => {
  const port = await freePort();
  const answer = (command: readonly string[]) =>
    isOf(command, value) ? `-ASK ${slot} 127.0.0.1:${port}\r\n` : command[0] === "GETEX" ? ABSENT : ":1\r\n";
  const { home, store, tell } = await storeAt(answer);
  await vi.waitFor(async () => expect(await store.countPrefix([other.key])).toBe(1), { timeout: 20_000 });
  const before = tell().length;
  await rounds(store);
  expect(tell().slice(before)).toEqual(["get", "claim"].map((operation) => `${FAILS} ${operation} 127.0.0.1:${port} away`));
  await store.close();
  await home.stop();
});

test("a node that has no slots yet is kept while commands are sent on to it", async () => {
  const importing = await fakeNode((command) => (command[0] === "ASKING" ? "+OK\r\n" : ABSENT));
  const answer = (command: readonly string[], port: number) =>
    isOf(command, value) ? `-ASK ${slot} 127.0.0.1:${importing.port}\r\n` : `-MOVED ${slotOf(name(other))} 127.0.0.1:${port}\r\n`;
  const { home, store, tell } = await storeAt(answer);
  await vi.waitFor(
    async () => {
      expect(await get(store, value)).toBeNull();
      await get(store, other); // the map is asked for anew
      expect(maps(home.commands)).toBe(4);
    },
    { timeout: 20_000 },
  );
  expect(importing.sockets.size - maps(importing.commands)).toBe(3); // it is asked for the map, too, each time on a connection for that
  expect(tell().filter((line) => line.includes(`${importing.port}`))).toEqual([]);
  expect(tell().filter((line) => line.includes("is no longer used"))).toHaveLength(1); // the first of the setting
  await store.close();
  await Promise.all([home.stop(), importing.stop()]);
});

test("closed while it asks for the map: nothing is told", async () => {
  const node = await fakeNode((command) => (isMap(command) ? "" : ABSENT));
  const told: string[] = [];
  const log = pino({}, { write: (line: string) => void told.push(line) });
  const store = openStore(`${node.url},${node.url.replace("127.0.0.1", "localhost")}`, { log });
  await vi.waitFor(() => expect(maps(node.commands)).toBe(2), { timeout: 20_000 }); // by each name
  await store.close();
  await node.stop();
  expect(told).toEqual([]);
});

test("ASK: that one command, behind ASKING, and the next goes where the slot is still", async () => {
  const importing = await fakeNode((command) => (command[0] === "ASKING" ? "+OK\r\n" : command[0] === "GETEX" ? ABSENT : ":1\r\n"));
  const first = await fakeNode((command) => (isMap(command) ? unread() : `-ASK ${slot} 127.0.0.1:${importing.port}\r\n`));
  const store = openStore(first.url);
  for (let i = 0; i < 2; i++) {
    expect(await get(store, value)).toBeNull();
    expect(await store.countPrefix([value.key])).toBe(1);
    expect(await store.claim(value.key, "a", 1_000)).toBe(true);
  }
  const words = ["ASKING", "GETEX", "ASKING", "exists", "ASKING", "eval"];
  expect(importing.commands.map(([word]) => word)).toEqual([...words, ...words]);
  expect(first.commands).toHaveLength(6);
  expect(store.stats()).toMatchObject({ misses: 2, failures: 0 });
  await store.close();
  await Promise.all([first.stop(), importing.stop()]);
});

test.each([
  ["TRYAGAIN Multiple keys request during rehashing of slot", "loading"],
  ["CLUSTERDOWN Hash slot not served", "unserved"],
])("%s: a miss and a failure, and no connection is given up for it", async (text, reason) => {
  const node = await fakeNode(() => `-${text}\r\n`);
  const store = openStore(node.url, { connections: 1 });
  for (let i = 0; i < 3; i++) expect([await get(store, value), await store.claim(value.key, "a", 1)]).toEqual([null, true]);
  expect(store.stats().failuresBy).toEqual({ [reason]: 6 });
  expect([node.commands.length, node.sockets.size]).toEqual([6, 2]);
  await store.close();
  await node.stop();
});

test("a master that cannot be reached where the cluster says it is: misses, and the address is told", async () => {
  const port = await freePort();
  const node = await fakeNode((command) => (isMap(command) ? mapTo(port, "localhost") : `-MOVED ${slot} localhost:${port}\r\n`));
  const told: { operation?: string; detail: string }[] = [];
  const log = pino({}, { write: (line: string) => void told.push(JSON.parse(line)) });
  const store = openStore(node.url, { log });
  expect(await get(store, value)).toBeNull();
  expect(store.stats().failuresBy).toEqual({ away: 1 });
  expect(told.find(({ operation }) => operation === "get")!.detail).toContain(String(port));
  await store.close();
  await node.stop();
});
