import { expect, test } from "vitest";
import { Answer } from "../../../services/api/answer/answer.ts";
import { parserFor } from "../../../services/api/answer/view.ts";
import { messagesSurface } from "../../../services/api/anthropic/surface.ts";
import { TextLogprobs } from "../../../services/api/openai/logprobs.ts";
import { chatSurface } from "../../../services/api/openai/surfaces.ts";
import type { JobEvent, LogRecord } from "../../../services/shared/bus/events.ts";
import { joinDeltas } from "../../../services/shared/engine/chat/delta.ts";
import { EOS, THINK_END } from "../../../services/shared/engine/chat/dialect.ts";
import { Tokenizer } from "../../../services/shared/engine/tokenizer/tokenizer.ts";
import { usage } from "../../support/bus.ts";

const tokenizer = await Tokenizer.load("deploy/models/yardlog");
const ids = [...(await tokenizer.encode("Container red-fox is stowed in bay 42."))];
const request = { stop: [], stopIds: [1] };
const logprobs = ids.slice(3).map((_, i) => ({ logprob: -i, top: [] }));

function read(events: readonly JobEvent[], view: object = { surface: "completion" }, stop: readonly string[] = []) {
  const answer = new Answer(tokenizer, { ...request, stop }, parserFor(view as never));
  const additions = events.map((event) => answer.push({ event } as LogRecord));
  const deltas = additions.flatMap(({ deltas }) => deltas);
  return {
    deltas,
    text: deltas.map((delta) => ("text" in delta ? delta.text : "")).join(""),
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

const chat = { surface: "chat", thinking: false, tools: true, release: "0731" };
const thinking = { ...chat, thinking: true };

/** An answer of these tokens, each with its logprob. */
const answered = (ids: readonly number[], view: object, stop: readonly string[] = []) =>
  read(
    [
      { type: "tokens", first: 0, ids, logprobs: ids.map(() => ({ logprob: -1, top: [] })) },
      { type: "finished", reason: "stop", usage },
    ],
    view,
    stop,
  );

const tokens = async (text: string) => [...(await tokenizer.encode(text))];

/** Text in tokens of single characters: a mark comes as text, not as the token it has of its own. */
const spelled = async (text: string) => (await Promise.all([...text].map(tokens))).flat();

test("marks spelled with other tokens are text, and nothing behind them is lost", async () => {
  const begin = '\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name="f">\n<｜DSML｜parameter name="k" string="true">';
  const end = "</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>";
  for (const mark of [EOS, THINK_END]) {
    const text = await spelled(`a${mark}b`);
    const ids = [text, await tokens(THINK_END), text, await tokens(begin), text, await tokens(end), text].flat();
    const { deltas, scores, end: ending } = answered(ids, thinking);
    expect(joinDeltas(deltas)).toEqual({
      reasoning: `a${mark}b`,
      content: `a${mark}ba${mark}b`,
      toolCalls: [{ name: "f", arguments: `{"k": "a${mark}b"}` }],
    });
    expect(ending).toMatchObject({ reason: "tool_calls", reasoningTokens: text.length + 1 });
    expect(scores.filter(({ reasoning }) => reasoning)).toHaveLength(text.length + 1);
    const broken = [await tokens(`${begin}v</｜DSML｜parameter>`), text].flat();
    expect(joinDeltas(answered(broken, chat).deltas)).toMatchObject({ content: `a${mark}b`, toolCalls: [{ arguments: '{"k": "v"' }] });
  }
});

test("the token </think> ends the reasoning alone, and elsewhere is text", async () => {
  const ids = await tokens("\n\n<</think></think>x");
  expect(joinDeltas(answered(ids, thinking).deltas)).toMatchObject({ reasoning: "\n\n<", content: "</think>x" });
  expect(answered(ids, { surface: "completion" }).text).toBe("\n\n<</think></think>x");
  const begun = { ...chat, begun: "\n\n<｜DSML｜tool_calls>\n" };
  expect(joinDeltas(answered(await tokens(THINK_END), begun).deltas).content).toBe("\n\n<｜DSML｜tool_calls>\n</think>");
});

test("the log probabilities of a completion say where each token begins in its text, in one piece and in pieces", async () => {
  const text = "日本 yard 😀😀é 42";
  const ids = await tokens(text);
  const { scores, deltas } = answered(ids, { surface: "completion" });
  expect(joinDeltas(deltas).content).toBe(text);
  const whole = new TextLogprobs().take(scores) as { tokens: string[]; text_offset: number[] };
  const characters = [...text];
  const expected = ids.map((_, i) => {
    const before = Buffer.concat(ids.slice(0, i).map((id) => tokenizer.bytesOf(id)));
    return [...before.toString("utf8").replace(/\ufffd+$/, "")].length;
  });
  expect(whole.text_offset).toEqual(expected);
  expect(whole.text_offset.at(-1)).toBe(characters.length - [...whole.tokens.at(-1)!].length);
  expect(whole.tokens, "or nothing was tested").toContain("\ufffd");
  const inPieces = new TextLogprobs();
  expect(scores.flatMap((score) => (inPieces.take([score]) as typeof whole).text_offset)).toEqual(expected);
});

test("half a character that nothing goes on with is one in the text, and what follows it begins behind", async () => {
  const half = (await tokens("😀"))[0]!;
  const ids = [...(await tokens("a")), half, ...(await tokens("b"))];
  const { scores, deltas } = answered(ids, { surface: "completion" });
  expect(joinDeltas(deltas).content).toBe("a\ufffdb");
  expect(new TextLogprobs().take(scores)).toMatchObject({ text_offset: [0, 1, 2] });
});

test("a stop string has no part of </think>: the reasoning ends with its token, in text and in counts", async () => {
  const ids = await tokens("r</think>>>x");
  const count = ids.indexOf(tokenizer.ids.thinkEnd!) + 1;
  for (const stop of [">>>", "</think>>", "r<", "<"]) {
    const { deltas, scores, end } = answered(ids, thinking, [stop]);
    expect(joinDeltas(deltas), stop).toMatchObject({ reasoning: "r", content: ">>x" });
    expect(end, stop).toMatchObject({ stop: null, reasoningTokens: count });
    expect(scores.map(({ reasoning }) => reasoning)).toEqual(ids.map((_, i) => i < count));
  }
  const stopped = answered(ids.slice(0, count), thinking, ["r<", THINK_END]);
  expect(joinDeltas(stopped.deltas)).toMatchObject({ reasoning: "r", content: "" });
  expect(stopped.end).toMatchObject({ reason: "stop", stop: THINK_END, reasoningTokens: count });
});

test("a call that a stop string cut off ends the answer as that string, not as a call", async () => {
  const text = '\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name="f">\n<｜DSML｜parameter name="k" string="true">one STOP two';
  const { deltas, scores, end } = answered(await tokens(text), chat, ["STOP"]);
  expect(end).toMatchObject({ reason: "stop", stop: "STOP" });
  const whole = [{ jobId: "job_1", index: 0, deltas, scores, end: end! }];
  const calls = [{ function: { name: "f", arguments: '{"k": "one ' } }];
  expect(chatSurface(() => ({}), { jobId: "job_1", index: 0 }, false).whole(whole)).toMatchObject({
    choices: [{ finish_reason: "stop", message: { tool_calls: calls } }],
  });
  expect(messagesSurface("job_1", "yardlog").whole(whole)).toMatchObject({
    ...{ stop_reason: "stop_sequence", stop_sequence: "STOP" },
    content: [{ type: "tool_use", input: { arguments: '{"k": "one ' } }],
  });
});

test("a job that failed with a code of a newer program fails for its reader as one of ours", () => {
  expect(() => read([{ type: "failed", code: "OVERLOADED", message: "m" }])).toThrow(expect.objectContaining({ code: "OVERLOADED" }));
  expect(() => read([{ type: "failed", code: "NEVER_HEARD_OF", message: "m" }])).toThrow(expect.objectContaining({ code: "INTERNAL" }));
});
