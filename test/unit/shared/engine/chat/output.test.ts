import fc from "fast-check";
import { expect, test } from "vitest";
import { type Delta, joinDeltas } from "../../../../../services/shared/engine/chat/delta.ts";
import { OutputStream, parseOutput } from "../../../../../services/shared/engine/chat/output.ts";
import { readJson } from "../../../../../services/shared/engine/chat/python-json.ts";

const EOS = "<｜end▁of▁sentence｜>";
const chat = { release: "preview", thinking: false } as const;
const thinking = { release: "preview", thinking: true } as const;

/** Fragments of the grammar and of what resembles it; a text is any sequence of them, so most are malformed in some way. */
const fragments = [
  ...[
    "a",
    "\n",
    "\n\n",
    "<",
    "</",
    '"',
    ">",
    "é😀",
    "1",
    "{}",
    " ",
    "｜",
    "<th",
    "\\",
    EOS,
    "<think>",
    "</think>",
    "｜DSML｜",
    "<｜begin▁of▁sentence｜>",
  ],
  ...[
    "\n\n<｜DSML｜tool_calls>\n",
    "</｜DSML｜tool_calls>",
    '<｜DSML｜invoke name="f">\n',
    "</｜DSML｜invoke>\n",
    "</｜DSML｜parameter>",
    "</｜DSML｜parameter>\n",
  ],
  ...[
    '<｜DSML｜parameter name="k" string="true">',
    '<｜DSML｜parameter name="j" string="false">',
    '<｜DSML｜invoke name="',
    '" string="',
    "\n\n<｜DSML｜",
  ],
];
const call = '<｜DSML｜invoke name="f">\n<｜DSML｜parameter name="k" string="true">v\n"</｜DSML｜parameter>\n</｜DSML｜invoke>\n';
const block = `\n\n<｜DSML｜tool_calls>\n${call}<｜DSML｜invoke name="g">\n\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>`;
const anyText = fc
  .array(fc.oneof({ weight: 4, arbitrary: fc.constantFrom(...fragments) }, fc.constantFrom(call, block, `${block}${EOS}`)), {
    maxLength: 9,
  })
  .map((parts) => parts.join(""));
const split = (text: string, cuts: readonly number[]): string[] => {
  const chars = [...text];
  const places = [...new Set(cuts.map((cut) => cut % (chars.length + 1)))].sort((a, b) => a - b);
  return [0, ...places].map((from, i) => chars.slice(from, places[i]).join(""));
};

/** Spec 5.5 once more, in regular expressions over the whole text: the calls and arguments, or null for anything malformed. */
function strictTwin(text: string, isThinking: boolean): { reasoning: string; content: string; toolCalls: unknown[] } | null {
  const whole = isThinking ? /^(?<reasoning>.*?)<\/think>(?<answer>.*)$/s.exec(text) : { groups: { reasoning: "", answer: text } };
  if (whole === null) return null;
  const { reasoning = "", answer = "" } = whole.groups as { reasoning?: string; answer?: string };
  const end =
    /^(?<content>.*?)(?:(?<block>\n\n<｜DSML｜tool_calls>\n.*?<\/｜DSML｜tool_calls>)(?:<｜end▁of▁sentence｜>)?|<｜end▁of▁sentence｜>)$/s;
  const { content = "", block } = (end.exec(answer)?.groups as { content?: string; block?: string }) ?? { content: "｜DSML｜" };
  if (/｜DSML｜|<\/?think>|<｜(begin|end)▁of▁sentence｜>/.test(`${reasoning}\0${content}`)) return null;
  const calls = block === undefined ? [] : twinCalls(block);
  return calls === null ? null : { reasoning, content, toolCalls: calls };
}

function twinCalls(text: string): unknown[] | null {
  const parameter =
    '<｜DSML｜parameter name="(?:(?!｜DSML｜).)+?" string="(?:true|false)">(?:(?!<｜end▁of▁sentence｜>|</｜DSML｜parameter>)[^])*</｜DSML｜parameter>\n';
  const invoke = `<｜DSML｜invoke name="((?:(?!｜DSML｜).)+?)">\n((?:${parameter})+|\n?)</｜DSML｜invoke>\n`;
  const inner = new RegExp(`^\n\n<｜DSML｜tool_calls>\n((?:${invoke})*)</｜DSML｜tool_calls>$`).exec(text)?.[1];
  if (inner === undefined) return null;
  const calls: unknown[] = [];
  for (const [, name, body] of inner.matchAll(new RegExp(invoke, "g"))) {
    const parameters = [...body!.matchAll(/<｜DSML｜parameter name="(.+?)" string="(true|false)">(.*?)<\/｜DSML｜parameter>\n/gs)];
    if (new Set(parameters.map(([, key]) => key)).size < parameters.length) return null;
    const values = parameters.map(([, key, isString, value]) => {
      const printed = isString === "true" ? JSON.stringify(value) : value;
      return isString === "false" && !isJson(value!) ? null : `${JSON.stringify(key)}: ${printed}`;
    });
    if (values.includes(null)) return null;
    calls.push({ name, arguments: `{${values.join(", ")}}` });
  }
  return calls;
}

const isJson = (text: string) => {
  try {
    readJson(text);
    return true;
  } catch {
    return false;
  }
};

test("the same text gives the same answer and the same verdict, however it is split", () => {
  fc.assert(
    fc.property(anyText, fc.array(fc.nat(), { maxLength: 12 }), fc.boolean(), (text, cuts, isThinking) => {
      const options = { release: "preview", thinking: isThinking } as const;
      const stream = new OutputStream(options);
      const deltas = split(text, cuts).flatMap((piece) => stream.push(piece));
      expect({ ...joinDeltas([...deltas, ...stream.end()]), problem: stream.problem }).toEqual(parseOutput(text, options));
    }),
    { numRuns: 5_000 },
  );
});

test("the verdict and the answer are those of the grammar", () => {
  let accepted = 0;
  fc.assert(
    fc.property(anyText, fc.boolean(), fc.boolean(), (text, isThinking, finish) => {
      const output = finish ? `${isThinking ? "r</think>" : ""}${text}${EOS}` : text;
      const { problem, ...parsed } = parseOutput(output, { release: "preview", thinking: isThinking });
      const golden = strictTwin(output, isThinking);
      if (golden === null) expect(problem, JSON.stringify(output)).not.toBeNull();
      else expect({ ...parsed, problem }, JSON.stringify(output)).toEqual({ ...golden, problem: null });
      accepted += golden === null ? 0 : 1;
    }),
    { numRuns: 5_000 },
  );
  expect(accepted).toBeGreaterThan(300);
});

/** The deltas of each piece, and of the end. */
function stream(options: typeof chat | typeof thinking, pieces: readonly string[]): Delta[][] {
  const output = new OutputStream(options);
  return [...pieces.map((piece) => output.push(piece)), output.end()];
}

test("text is passed on at once, except what may become markup", () => {
  expect(stream(thinking, ["Hm", "m.</thi", "nk>Yes\n", "\n<b>"])).toEqual([
    [{ type: "reasoning", text: "Hm" }],
    [{ type: "reasoning", text: "m." }],
    [{ type: "content", text: "Yes" }],
    [{ type: "content", text: "\n\n<b>" }],
    [],
  ]);
});

test("a call's name comes when it is complete, its string arguments as they are written", () => {
  const begin = '\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name="write">\n<｜DSML｜parameter name="text" string="true">';
  expect(stream(chat, [begin, 'one "', "two</｜DS", "ML｜parameter>\n", `</｜DSML｜invoke>\n</｜DSML｜tool_calls>${EOS}`])).toEqual([
    [
      { type: "call", index: 0, name: "write" },
      { type: "arguments", index: 0, text: '{"text": "' },
    ],
    [{ type: "arguments", index: 0, text: 'one \\"' }],
    [{ type: "arguments", index: 0, text: "two" }],
    [{ type: "arguments", index: 0, text: '"' }],
    [{ type: "arguments", index: 0, text: "}" }],
    [],
  ]);
});

test("markup that breaks becomes content, and the call it broke stays incomplete", () => {
  const begin = `\n\n<｜DSML｜tool_calls>\n${call}<｜DSML｜invoke name="g">\n<｜DSML｜parameter name="k" string="true">x</｜DSML｜parameter>`;
  expect(parseOutput(`${begin} and now?${EOS}`, chat)).toEqual({
    reasoning: "",
    content: " and now?",
    toolCalls: [
      { name: "f", arguments: '{"k": "v\\n\\""}' },
      { name: "g", arguments: '{"k": "x"' },
    ],
    problem: "parameter",
  });
  expect(parseOutput(`Look:\n\n<｜DSML｜tool_calls>\nf()${EOS}`, chat)).toMatchObject({
    content: "Look:\n\n<｜DSML｜tool_calls>\nf()",
    toolCalls: [],
    problem: "tool_block",
  });
});

test("output cut off by a limit keeps what was said", () => {
  expect(parseOutput("I thi", thinking)).toMatchObject({ reasoning: "I thi", problem: "no_think_end" });
  expect(parseOutput("Yes <", chat)).toMatchObject({ content: "Yes <", problem: "no_eos" });
  expect(parseOutput('\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name="f">\n<｜DSML｜par', chat)).toMatchObject({
    content: "",
    toolCalls: [{ name: "f", arguments: "" }],
  });
});

test("what is held back has a bound", () => {
  const output = new OutputStream(chat);
  output.push(`\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name="${"x".repeat(1_000)}`);
  expect(joinDeltas(output.push("x".repeat(100))).content).toContain("x".repeat(1_100));
  expect(output.problem).toBe("tool_name");
});
