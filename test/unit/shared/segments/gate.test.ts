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
  const [gate, order]: [Gate, string[]] = [new Gate(2, 10), []];
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
  const [gate, order]: [Gate, string[]] = [new Gate(1, 1), []];
  const first = held(gate, order, "first");
  const failing = gate.pass(() => Promise.reject(new Error("broken")));
  await expect(gate.pass(async () => {})).rejects.toMatchObject({ reason: "queue" });
  first.end();
  await expect(failing).rejects.toThrow("broken");
  expect(await gate.pass(async () => 7)).toBe(7);
});
