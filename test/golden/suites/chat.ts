import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { ChatMessage, Effort, Release } from "../../../services/shared/engine/chat/messages.ts";
import { parseOutput } from "../../../services/shared/engine/chat/output.ts";
import { encodePrompt } from "../../../services/shared/engine/chat/prompt.ts";
import { type ExactJson, JsonNumber, readJson } from "../../../services/shared/engine/chat/python-json.ts";
import type { SuiteResult } from "./result.ts";

/** Every case of a folder with chat.json (prompts) and parse.json (model output). */
export async function runChatGolden(folder: string): Promise<SuiteResult> {
  const prompts = (await readCases(folder, "chat.json", (text) => plain(readJson(text)))) as PromptCase[];
  const outputs = (await readCases(folder, "parse.json", JSON.parse)) as ParseCase[];
  const failures = [...prompts.flatMap(promptFailures), ...outputs.flatMap(parseFailures)];
  const compared = prompts.length + outputs.length;
  if (compared === 0) failures.push(`${folder} has no cases to compare`);
  return { suite: "chat", compared, worst: failures.length, tolerance: "exact", failures };
}

interface PromptCase {
  readonly name: string;
  readonly release: Release;
  readonly thinking: boolean;
  readonly effort: Effort | null;
  readonly drop_thinking?: boolean;
  readonly tools?: ChatMessage["tools"];
  readonly messages: readonly ChatMessage[];
  readonly prompt: string;
}

interface ParseCase {
  readonly name: string;
  readonly release: Release;
  readonly thinking: boolean;
  readonly text: string;
  readonly expect?: {
    readonly reasoning: string;
    readonly content: string;
    readonly tool_calls: readonly { name: string; arguments: string }[];
  };
  readonly error?: string;
}

async function readCases(folder: string, file: string, read: (text: string) => unknown): Promise<unknown> {
  const text = await readFile(join(folder, file), "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return "[]";
    throw error;
  });
  return read(text);
}

/** What is printed into the prompt: numbers and the order of keys as they are written. */
const EXACT: ReadonlySet<string> = new Set(["tools", "response_format", "arguments"]);

/** Plain objects and numbers, but for what must stay exact. */
function plain(value: ExactJson): unknown {
  if (value instanceof JsonNumber) return Number(value.text);
  if (Array.isArray(value)) return value.map(plain);
  if (value instanceof Map) return Object.fromEntries([...value].map(([key, item]) => [key, EXACT.has(key) ? item : plain(item)]));
  return value;
}

function promptFailures({ name, messages, prompt, release, thinking, effort, drop_thinking, tools }: PromptCase): string[] {
  const ours = attempt(() => encodePrompt(messages, { release, thinking, effort, dropThinking: drop_thinking, tools }));
  return ours === prompt ? [] : [`prompt "${name}": ${firstDifference(ours, prompt)}`];
}

function parseFailures({ name, release, thinking, text, expect, error }: ParseCase): string[] {
  const { reasoning, content, toolCalls, problem } = parseOutput(text, { release, thinking });
  if (expect === undefined) return problem === null ? [`output "${name}": accepted, but it is malformed (${error})`] : [];
  if (problem !== null) return [`output "${name}": refused (${problem})`];
  const ours = JSON.stringify({ reasoning, content, tool_calls: toolCalls });
  return ours === JSON.stringify(expect) ? [] : [`output "${name}": ${firstDifference(ours, JSON.stringify(expect))}`];
}

function attempt(run: () => string): string {
  try {
    return run();
  } catch (error) {
    return String(error);
  }
}

function firstDifference(ours: string, golden: string): string {
  let at = 0;
  while (at < ours.length && ours[at] === golden[at]) at++;
  const near = (text: string) => JSON.stringify(text.slice(Math.max(0, at - 20), at + 40));
  return `differs at character ${at}: ${near(ours)} instead of ${near(golden)}`;
}
