import { pino } from "pino";
import { expect, test, vi } from "vitest";
import { freePort } from "../../../services/cli/cluster/ports.ts";
import { slotOf } from "../../../services/shared/segments/redis/slots.ts";
import { freshStores, name } from "../../support/fresh-redis.ts";
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
const unread = () => expect.fail("nobody is to ask this");

test("MOVED: asked again there at once, however many; the map is asked for once", async () => {
  const owner = await fakeNode((command) => (isMap(command) ? mapTo(owner.port) : ABSENT));
  const first = await fakeNode((command) => (isMap(command) ? mapTo(owner.port) : `-MOVED ${slot} 127.0.0.1:${owner.port}\r\n`));
  const store = openStore(first.url, { connections: 1 });
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

test("closed while it asks for the map: nothing is told", async () => {
  const node = await fakeNode((command) => (isMap(command) ? "" : ABSENT));
  const told: string[] = [];
  const log = pino({}, { write: (line: string) => void told.push(line) });
  const store = openStore(`${node.url},${node.url.replace("127.0.0.1", "localhost")}`, { log });
  await vi.waitFor(() => expect(maps(node.commands)).toBe(1), { timeout: 20_000 });
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
  ["CLUSTERDOWN Hash slot not served", "readonly"],
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
