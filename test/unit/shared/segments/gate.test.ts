import { expect, test } from "vitest";
import { Gate } from "../../../../services/shared/segments/gate.ts";

/** Work that ends when the test says so. */
function held(gate: Gate, order: string[], name: string) {
  let end = () => {};
  const done = gate.pass(() => {
    order.push(name);
    return new Promise<void>((resolve) => {
      end = resolve;
    });
  });
  return { done, end: () => end() };
}

type Held = ReturnType<typeof held>;

test("at most so many pass at once, in the order they came", async () => {
  const [gate, order]: [Gate, string[]] = [new Gate(() => 2, 10), []];
  const [a, b, c, d] = ["a", "b", "c", "d"].map((name) => held(gate, order, name)) as [Held, Held, Held, Held];
  expect(order).toEqual(["a", "b"]);
  b.end();
  await b.done;
  expect(order).toEqual(["a", "b", "c"]);
  a.end();
  await a.done;
  expect(order).toEqual(["a", "b", "c", "d"]);
  c.end();
  d.end();
  await Promise.all([c.done, d.done]);
});

test("who finds too many waiting is told at once; work that fails makes room like any other", async () => {
  const [gate, order]: [Gate, string[]] = [new Gate(() => 1, 1), []];
  const first = held(gate, order, "first");
  const failing = gate.pass(() => Promise.reject(new Error("broken")));
  await expect(gate.pass(async () => {})).rejects.toMatchObject({ reason: "queue" });
  first.end();
  await expect(failing).rejects.toThrow("broken");
  expect(await gate.pass(async () => 7)).toBe(7);
});

test("room that changes: those inside stay when it shrinks, and the next to leave fills what it has grown by", async () => {
  let openMax = 3;
  const gate = new Gate(() => openMax, 10);
  const inside: (() => void)[] = [];
  const works = Array.from({ length: 8 }, () => gate.pass(() => new Promise<void>((resolve) => inside.push(resolve))));
  const leave = async (index: number) => {
    inside[index]!();
    await works[index];
  };
  expect(inside).toHaveLength(3);
  openMax = 1;
  await leave(0);
  await leave(1);
  expect(inside).toHaveLength(3);
  await leave(2);
  expect(inside).toHaveLength(4);
  openMax = 4;
  await leave(3);
  expect(inside).toHaveLength(8);
  for (const index of [4, 5, 6, 7]) await leave(index);
});

test("who comes when room has grown does not overtake those who wait", async () => {
  let openMax = 1;
  const [gate, order]: [Gate, string[]] = [new Gate(() => openMax, 10), []];
  const [a, b] = ["a", "b"].map((name) => held(gate, order, name)) as [Held, Held];
  openMax = 2;
  const c = held(gate, order, "c");
  expect(order).toEqual(["a"]);
  a.end();
  await a.done;
  expect(order).toEqual(["a", "b", "c"]);
  for (const each of [b, c]) each.end();
  await Promise.all([b.done, c.done]);
});

test("it is empty once those inside and those who wait have passed", async () => {
  const [gate, order]: [Gate, string[]] = [new Gate(() => 1, 10), []];
  const [a, b] = [held(gate, order, "a"), held(gate, order, "b")];
  const empty = gate.empty().then(() => order.push("empty"));
  a.end();
  await a.done;
  b.end();
  await Promise.all([b.done, empty]);
  expect(order).toEqual(["a", "b", "empty"]);
  await gate.empty();
});
