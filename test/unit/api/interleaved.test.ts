import { once } from "node:events";
import { expect, test } from "vitest";
import { interleaved } from "../../../services/api/http/interleaved.ts";

async function* saying(...words: readonly string[]) {
  yield* words;
}

test("sources take turns, and one that has ended leaves the others theirs", async () => {
  const all: string[] = [];
  for await (const [index, word] of interleaved([saying("a", "b", "c"), saying("d")], () => {})) all.push(`${index}${word}`);
  expect(all).toEqual(["0a", "1d", "0b", "0c"]);
});

test("who reads no further leaves no source behind in the middle", async () => {
  const ended: string[] = [];
  async function* counting(name: string) {
    try {
      for (let i = 0; ; i++) yield i;
    } finally {
      ended.push(name);
    }
  }
  for await (const [, count] of interleaved([counting("a"), counting("b")], () => {})) if (count === 2) break;
  await expect.poll(() => ended.sort()).toEqual(["a", "b"]);
});

test.each(["fails", "is read no further"])("when one of the sources %s, those that wait are made to end", async (how) => {
  const left = new AbortController();
  let ended = false;
  async function* waiting() {
    await once(left.signal, "abort");
    ended = true;
    yield* [];
  }
  async function* failing() {
    yield "a";
    throw new Error("no more");
  }
  const read = async () => {
    for await (const _ of interleaved([waiting(), failing()], () => left.abort())) if (how !== "fails") return;
  };
  await (how === "fails" ? expect(read()).rejects.toThrow("no more") : read());
  await expect.poll(() => ended).toBe(true);
});
