import fc from "fast-check";
import { expect, test } from "vitest";
import { type ChatMessage, releases } from "../../../../../services/shared/engine/chat/messages.ts";
import { parseOutput } from "../../../../../services/shared/engine/chat/output.ts";
import { encodePrompt } from "../../../../../services/shared/engine/chat/prompt.ts";
import { type Printable, printJson } from "../../../../../services/shared/engine/chat/python-json.ts";

const plain = fc.string({ unit: fc.constantFrom("a", "é", "\n", "<", ">", '"', "\\", "値", "😀", "{", " "), maxLength: 12 });
const name = fc.stringMatching(/^[a-zé_:-]{1,8}$/);
const json: fc.Arbitrary<Printable> = fc.jsonValue() as fc.Arbitrary<Printable>;
const call = fc.record({ name, arguments: fc.dictionary(name, fc.oneof(plain, json), { maxKeys: 4, noNullPrototype: true }) });

test("what the encoder writes for an answer, the parser reads back", () => {
  fc.assert(
    fc.property(fc.constantFrom(...releases), plain, plain, fc.array(call, { maxLength: 3 }), (release, reasoning, content, calls) => {
      const question: ChatMessage = { role: "user", content: "?" };
      const tool_calls = calls.map((item, i) => ({ id: `c${i}`, function: { name: item.name, arguments: item.arguments } }));
      const answer: ChatMessage = { role: "assistant", content, reasoning_content: reasoning, tool_calls };
      const before = encodePrompt([question], { release, thinking: true });
      const whole = encodePrompt([question, answer], { release, thinking: true });
      expect(whole.startsWith(before)).toBe(true);
      expect(parseOutput(whole.slice(before.length), { release, thinking: true })).toEqual({
        reasoning,
        content,
        toolCalls: calls.map((item) => ({ name: item.name, arguments: printJson(item.arguments) })),
        problem: null,
      });
    }),
  );
});

test("the answers of a task, and results without a call before them, stay in place", () => {
  const options = { release: "preview", thinking: false } as const;
  const prompt = encodePrompt(
    [
      { role: "tool", tool_call_id: "x", content: "r" },
      { role: "user", content: "a", task: "query" },
      { role: "user", content: "b" },
      { role: "tool", tool_call_id: null, content: null },
    ],
    options,
  );
  expect(prompt).toBe(
    "<｜begin▁of▁sentence｜><｜User｜><tool_result>r</tool_result>\n\na<｜User｜>b\n\n<tool_result></tool_result><｜Assistant｜></think>",
  );
});

test("what no prompt can say is refused, with the field at fault", () => {
  const user: ChatMessage = { role: "user", content: "x" };
  const refused = (messages: readonly ChatMessage[], param: string, options = {}) =>
    expect(() => encodePrompt(messages, { release: "preview", thinking: true, ...options })).toThrow(
      expect.objectContaining({ code: "INVALID_REQUEST", param }),
    );
  refused([], "messages");
  refused([user, { role: "judge" as "user" }], "messages[1].role");
  refused([{ role: "developer", content: "x" }], "messages[0].role", { release: "v41" });
  refused([user, { ...user, task: "dance" as "title" }], "messages[1].task");
  refused([{ role: "user", content: [{ type: "text", text: "x" }, { type: "image_url" }] }], "messages[0].content[1]");
  refused([{ role: "user", content: [{ type: "image_url" }] }], "messages[0].content[0]", { responseFormat: { type: "json_object" } });
  refused([user], "tools", { tools: [{ name: "f" }] });
  refused([user], "tools", { tools: ["f"] });
  refused([user, { role: "assistant", tool_calls: [{ function: { name: "f", arguments: "[1]" } }] }], "messages");
  refused([user], "reasoning_effort", { effort: 13 });
  refused([user], "reasoning_effort", { effort: 101, release: "v41" });
  refused([user], "reasoning_effort", { effort: 1.5, release: "v41" });
  refused([user], "release", { release: "v5" });
});

test("ten thousand messages are merged in one go", () => {
  const messages = Array.from({ length: 10_000 }, (): ChatMessage => ({ role: "user", content: "line" }));
  expect(encodePrompt(messages, { release: "preview", thinking: false })).toHaveLength(
    10_000 * 4 + 9_999 * 2 + "<｜begin▁of▁sentence｜><｜User｜><｜Assistant｜></think>".length,
  );
});
