import { expect, test } from "vitest";
import { Answer } from "../../../services/api/answer.ts";
import { parserFor } from "../../../services/api/view.ts";
import type { JobEvent, LogRecord } from "../../../services/shared/bus/events.ts";
import { Tokenizer } from "../../../services/shared/engine/tokenizer.ts";
import { usage } from "../../support/bus.ts";

const tokenizer = await Tokenizer.load("deploy/models/yardlog");
const ids = [...(await tokenizer.encode("Container red-fox is stowed in bay 42."))];
const request = { stop: [], stopIds: [1] };
const logprobs = ids.slice(3).map((_, i) => ({ logprob: -i, top: [] }));

function read(events: readonly JobEvent[], view: object = { surface: "completion" }) {
  const answer = new Answer(tokenizer, request, parserFor(view as never));
  const additions = events.map((event) => answer.push({ event } as LogRecord));
  return {
    text: additions
      .flatMap(({ deltas }) => deltas)
      .map((delta) => ("text" in delta ? delta.text : ""))
      .join(""),
    scores: additions.flatMap(({ scores }) => scores),
    end: answer.end,
  };
}

test("readers see the same whether the last tokens come in an event of their own or with the end", () => {
  const start: JobEvent[] = [
    { type: "handed_over", token: ids[0]!, boundary: 3, cached: 0, recomputed: 0 },
    { type: "tokens", first: 1, ids: ids.slice(1, 3) },
  ];
  const last = { first: 3, ids: ids.slice(3), logprobs };
  const apart = read([...start, { type: "tokens", ...last }, { type: "finished", reason: "length", usage }]);
  const together = read([...start, { type: "finished", reason: "length", usage, tokens: last }]);
  expect(apart.text).toBe("Container red-fox is stowed in bay 42.");
  expect(apart.scores).toHaveLength(ids.length - 3);
  expect(together).toEqual(apart);
});

const handedOver = (token: number): JobEvent => ({ type: "handed_over", token, boundary: 3, cached: 0, recomputed: 0 });

test("what comes again adds nothing, and a stop id is no part of the answer", () => {
  const again = read([
    handedOver(ids[0]!),
    { type: "tokens", first: 1, ids: ids.slice(1, 5) },
    handedOver(ids[0]!),
    { type: "tokens", first: 3, ids: ids.slice(3), logprobs },
    { type: "finished", reason: "stop", usage },
  ]);
  expect(again.text).toBe("Container red-fox is stowed in bay 42.");
  expect(again.scores.map(({ logprob }) => logprob)).toEqual(logprobs.slice(2).map(({ logprob }) => logprob));
  expect(read([handedOver(1), { type: "finished", reason: "stop", usage }]).text).toBe("");
});

test("an answer that was cut off behind a call ends as one that was cut off", async () => {
  const call =
    '<｜DSML｜tool_calls>\n<｜DSML｜invoke name="find">\n<｜DSML｜parameter name="n" string="false">1</｜DSML｜parameter>\n</｜DSML｜invoke>';
  const [first, ...rest] = [...(await tokenizer.encode(`\n\n${call}`))];
  for (const [reason, ended] of [
    ["stop", "tool_calls"],
    ["length", "length"],
  ] as const) {
    const events: JobEvent[] = [handedOver(first!), { type: "tokens", first: 1, ids: rest }, { type: "finished", reason, usage }];
    expect(read(events, { surface: "chat", thinking: false, tools: true, release: "0731" }).end).toMatchObject({ reason: ended });
  }
});

test("a job that failed with a code of a newer program fails for its reader as one of ours", () => {
  expect(() => read([{ type: "failed", code: "OVERLOADED", message: "m" }])).toThrow(expect.objectContaining({ code: "OVERLOADED" }));
  expect(() => read([{ type: "failed", code: "NEVER_HEARD_OF", message: "m" }])).toThrow(expect.objectContaining({ code: "INTERNAL" }));
});
