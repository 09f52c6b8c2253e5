import { expect, test } from "vitest";
import { Turns } from "../../../services/batch/turns.ts";
import { never } from "../../support/bus.ts";

/** Whoever asks, by name, once he has his turn. */
function asking(turns: Turns) {
  const begun: string[] = [];
  const ask = (name: string, bytes: number) => turns.take(bytes, never).then(() => begun.push(name));
  const now = async () => {
    await new Promise(setImmediate);
    return begun.splice(0).join(" ");
  };
  return { ask, now };
}

test("room is given in the order it is asked for, and what is larger than all of it has it alone", async () => {
  const turns = new Turns(100, () => 0);
  const { ask, now } = asking(turns);
  const asked = { a: 60, b: 40, huge: 1_000, c: 10 };
  for (const [name, bytes] of Object.entries(asked)) void ask(name, bytes);
  expect(await now()).toBe("a b");
  turns.give(60);
  expect(await now()).toBe("");
  turns.give(40);
  expect(await now()).toBe("huge");
  turns.give(1_000);
  expect(await now()).toBe("c");
});

test("what else is held takes of the room, until it becomes less", async () => {
  let held = 100;
  const turns = new Turns(100, () => held);
  const { ask, now } = asking(turns);
  for (const name of ["a", "b"]) void ask(name, 60);
  expect(await now()).toBe("");
  held = 99;
  turns.look();
  expect(await now()).toBe("a");
});

test("whoever waits when all is over rejects with its reason", async () => {
  const over = new AbortController();
  const turns = new Turns(1, () => 1);
  const waiting = turns.take(1, over.signal);
  over.abort(new Error("over"));
  await expect(waiting).rejects.toThrow("over");
  await expect(turns.take(1, over.signal)).rejects.toThrow("over");
});
