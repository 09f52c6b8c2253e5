import fc from "fast-check";
import { expect, test } from "vitest";
import { openedPrompt } from "../../../services/api/prompt/opened-prompt.ts";
import { type ChatMessage, releases } from "../../../services/shared/engine/chat/messages.ts";
import { encodePrompt } from "../../../services/shared/engine/chat/prompt.ts";

const system: ChatMessage = { role: "system", content: "s" };
const user: ChatMessage = { role: "user", content: "u" };
const answer: ChatMessage = { role: "assistant", content: "a" };
const reminder: ChatMessage = { role: "latest_reminder", content: "r" };
const begun: ChatMessage = { role: "assistant", content: "b", wo_eos: true };

const BOS = "<｜begin▁of▁sentence｜>";
const USER = "<｜User｜>u";
const END = "<｜end▁of▁sentence｜>";

test.each<[string, readonly ChatMessage[], (mark: string, thoughts: string) => string]>([
  ["a user's message", [system, user], (mark) => `s${USER}<｜Assistant｜>${mark}`],
  ["a system message alone", [system], (mark) => `s<｜Assistant｜>${mark}`],
  ["a system message behind a question", [user, system], (mark) => `${USER}s<｜Assistant｜>${mark}`],
  ["a reminder behind a system message", [system, reminder], (mark) => `s<｜latest_reminder｜>r<｜Assistant｜>${mark}`],
  ["a reminder behind a question", [user, reminder], (mark) => `${USER}<｜Assistant｜>${mark}<｜latest_reminder｜>r`],
  ["an answer begun behind a question", [user, begun], (mark, thoughts) => `${USER}<｜Assistant｜>${mark}${thoughts}b`],
  ["an answer begun behind a system message", [system, begun], (mark, thoughts) => `s<｜Assistant｜>${mark}${thoughts}b`],
  ["an answer begun behind nothing", [begun], (mark, thoughts) => `<｜Assistant｜>${mark}${thoughts}b`],
  [
    "an answer begun behind another",
    [user, answer, begun],
    (mark, thoughts) => `${USER}<｜Assistant｜>${mark}${thoughts}a${END}<｜Assistant｜>${mark}${thoughts}b`,
  ],
])("the assistant's turn is open behind %s, and only what is not begun begins by thinking", (_, messages, prompt) => {
  for (const release of ["preview", "0731"] as const) {
    const thinks = messages.at(-1) !== begun;
    expect(openedPrompt(messages, { release, thinking: false })).toEqual({ text: BOS + prompt("</think>", ""), thinks: false });
    expect(openedPrompt(messages, { release, thinking: true })).toEqual({ text: BOS + prompt("<think>", "</think>"), thinks });
  }
});

test("V4.1 opens the turn itself behind a later system message, and has it opened behind the first", () => {
  const options = { release: "v41", thinking: false } as const;
  expect(openedPrompt([system], options).text).toBe(`${BOS}<｜System｜>s<｜Assistant｜></think>`);
  expect(openedPrompt([user, system], options).text).toBe(`${BOS}${USER}<｜System｜>s<｜Assistant｜></think>`);
});

test("whatever was said, the header is the last of the prompt or stands right before what is begun, and the rest is the encoder's", () => {
  const said = fc.array(fc.constantFrom(system, user, answer, { role: "tool", content: "t" } as const), { minLength: 1, maxLength: 6 });
  const tools = fc.constantFrom([], [{ type: "function", function: { name: "f" } }]);
  fc.assert(
    fc.property(fc.constantFrom(...releases), fc.boolean(), said, tools, fc.boolean(), (release, thinking, messages, tools, begins) => {
      const options = { release, thinking, tools };
      const conversation = begins ? [...messages, begun] : messages;
      const { text } = openedPrompt(conversation, options);
      const header = `<｜Assistant｜>${thinking ? "<think>" : "</think>"}`;
      const beginning = begins ? `${thinking ? "</think>" : ""}b` : "";
      expect(text.endsWith(header + beginning)).toBe(true);
      const withoutHeader = text.slice(0, text.length - header.length - beginning.length) + beginning;
      expect([text, withoutHeader]).toContain(encodePrompt(conversation, options));
    }),
  );
});
