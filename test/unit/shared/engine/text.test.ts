import fc from "fast-check";
import { expect, test } from "vitest";
import { StopMatcher, TextStream } from "../../../../services/shared/engine/text.ts";

/** A tokenizer of one token per byte, and one for the end of the reasoning. */
const THINK_END = 256;
const bytewise = {
  bytesOf: (id: number) => (id === THINK_END ? Buffer.from("</think>") : Uint8Array.of(id)),
  ids: { thinkEnd: THINK_END },
};

/** The rule in its plainest form: try every end, then every stop string, the longest first. */
function slowStop(text: string, stops: readonly string[]): { text: string; stop: string | null } {
  const longestFirst = [...stops].sort((a, b) => b.length - a.length);
  for (let end = 1; end <= text.length; end++)
    for (const stop of longestFirst) if (text.slice(0, end).endsWith(stop)) return { text: text.slice(0, end - stop.length), stop };
  return { text, stop: null };
}

const letters = fc.string({ unit: fc.constantFrom("a", "b", "c"), maxLength: 40 });
const stopStrings = fc.array(fc.string({ unit: fc.constantFrom("a", "b", "c"), minLength: 1, maxLength: 5 }), { maxLength: 4 });

test("stop strings end the text at the same character, however it is split", () => {
  fc.assert(
    fc.property(fc.array(letters, { maxLength: 6 }), stopStrings, (pieces, stops) => {
      const matcher = new StopMatcher(stops);
      let text = "";
      let stop: string | null = null;
      for (const piece of pieces) {
        if (stop !== null) break;
        const found = matcher.push(piece);
        text += found.text;
        stop = found.stop;
      }
      if (stop === null) text += matcher.flush();
      expect({ text, stop }).toEqual(slowStop(pieces.join(""), stops));
    }),
    { numRuns: 3_000 },
  );
});

test("only what may become a stop string is held back", () => {
  const matcher = new StopMatcher(["\n\nEnd", "STOP"]);
  expect(matcher.push("one\n")).toEqual({ text: "one", stop: null });
  expect(matcher.push("two S")).toEqual({ text: "\ntwo ", stop: null });
  expect(matcher.push("T")).toEqual({ text: "", stop: null });
  expect(matcher.push("AR\n\nE")).toEqual({ text: "STAR", stop: null });
  expect(matcher.push("nd of it")).toEqual({ text: "", stop: "\n\nEnd" });
});

test("the stream tells which stop string it found, and is silent afterwards", () => {
  const stream = new TextStream(bytewise, ["日本"]);
  const ids = [...Buffer.from("im 日月 und 日本 weiter", "utf8")];
  const text = ids.map((id) => stream.push(id)).join("") + stream.flush();
  expect(text).toBe("im 日月 und ");
  expect(stream.stopped).toBe("日本");
});

test("the token that ends the reasoning is never held back, and no stop string goes across it", () => {
  const stream = new TextStream(bytewise, [">>>", "ab", "a</think>"]);
  const ids = [...Buffer.from("xa"), THINK_END, ...Buffer.from(">>b"), 0xe6, THINK_END, ...Buffer.from(">>>")];
  expect(ids.map((id) => stream.push(id))).toEqual(["x", "", "a</think>", "", "", ">>b", "", "\ufffd</think>", "", "", ""]);
  expect(stream.stopped).toBe(">>>");
  const stopped = new TextStream(bytewise, ["b", "</think>"]);
  expect([97, THINK_END, 98].map((id) => stopped.push(id))).toEqual(["a", "", ""]);
  expect(stopped.stopped).toBe("</think>");
});

test("text is whole characters at every token, and replaying the ids restores the state", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), fc.nat(60), stopStrings, (bytes, taken, stops) => {
      const whole = new TextStream(bytewise, stops);
      const pieces = [...bytes].map((id) => whole.push(id));
      for (const piece of pieces) expect(piece).not.toMatch(/\p{Surrogate}/u);

      const successor = new TextStream(bytewise, stops);
      for (const id of bytes.slice(0, taken)) successor.push(id);
      expect([...bytes.slice(taken)].map((id) => successor.push(id))).toEqual(pieces.slice(taken));
      expect(successor.stopped).toBe(whole.stopped);
      expect(successor.flush()).toBe(whole.flush());
    }),
  );
});

test("without stop strings the text is that of the bytes", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => {
      const stream = new TextStream(bytewise, []);
      const text = [...bytes].map((id) => stream.push(id)).join("") + stream.flush();
      expect(text).toBe(new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes));
    }),
  );
});

test("stop strings out of bounds are refused", () => {
  for (const stops of [[""], Array(17).fill("x"), ["x".repeat(1_025)], ["\ud83d"]])
    expect(() => new StopMatcher(stops)).toThrow(expect.objectContaining({ code: "INVALID_REQUEST", param: "stop" }));
});
