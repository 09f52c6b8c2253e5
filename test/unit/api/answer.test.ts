import { expect, test } from "vitest";
import { Answer } from "../../../services/api/answer.ts";
import { parserFor } from "../../../services/api/view.ts";
import type { JobEvent, LogRecord } from "../../../services/shared/bus/contract.ts";
import { Tokenizer } from "../../../services/shared/engine/tokenizer.ts";
import { usage } from "../../support/bus.ts";

const tokenizer = await Tokenizer.load("deploy/models/yardlog");
const ids = [...(await tokenizer.encode("Container red-fox is stowed in bay 42."))];
const request = { stop: [], stopIds: [1] };
const logprobs = ids.slice(3).map((_, i) => ({ logprob: -i, top: [] }));

function read(events: readonly JobEvent[]) {
  const answer = new Answer(tokenizer, request, parserFor({ surface: "completion", created: 0 } as never));
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
