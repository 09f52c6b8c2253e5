import { refusal } from "../../runtime/errors.ts";
import type { Effort, Release } from "./messages.ts";

/**
 * Markup that is one token each.
 * The texts in this file are input the models were trained on (spec 5): do not edit them.
 */
export const BOS = "<｜begin▁of▁sentence｜>";
export const EOS = "<｜end▁of▁sentence｜>";
export const USER = "<｜User｜>";
export const ASSISTANT = "<｜Assistant｜>";
export const SYSTEM = "<｜System｜>";
export const LATEST_REMINDER = "<｜latest_reminder｜>";
export const THINK_START = "<think>";
export const THINK_END = "</think>";
export const DSML = "｜DSML｜";

/** The tags of tool calls in one release, names included, without attributes. */
export interface Tags {
  readonly calls: string;
  readonly invoke: string;
  readonly parameter: string;
}

export const tagsOf = (release: Release): Tags =>
  release === "v41"
    ? { calls: `${DSML} calls`, invoke: `${DSML} invoke`, parameter: `${DSML} parameter` }
    : { calls: `${DSML}tool_calls`, invoke: `${DSML}invoke`, parameter: `${DSML}parameter` };

/** How an answer begins that calls a tool without saying anything first. `name` null: up to where the name comes. */
export function callsOpening(release: Release, name: string | null): string {
  const { calls, invoke } = tagsOf(release);
  return `\n\n<${calls}>\n<${invoke} name="${name === null ? "" : `${name}">\n`}`;
}

/** `schemas`: one JSON object per line. */
export const toolsBlock = ({ calls, invoke, parameter }: Tags, schemas: string): string => `## Tools

You have access to a set of tools to help answer the user's question. You can invoke tools by writing a "<${calls}>" block like the following:

<${calls}>
<${invoke} name="$TOOL_NAME">
<${parameter} name="$PARAMETER_NAME" string="true|false">$PARAMETER_VALUE</${parameter}>
...
</${invoke}>
<${invoke} name="$TOOL_NAME2">
...
</${invoke}>
</${calls}>

String parameters should be specified as is and set \`string="true"\`. For all other types (numbers, booleans, arrays, objects), pass the value in JSON format and set \`string="false"\`.

If thinking_mode is enabled (triggered by <think>), you MUST output your complete reasoning inside <think>...</think> BEFORE any tool calls or final response.

Otherwise, output directly after </think> with tool calls or final response.

### Available Tool Schemas

${schemas}

You MUST strictly follow the above defined tool name and parameter schemas to invoke tool calls.
`;

export const responseFormatBlock = (schema: string): string =>
  `\n\n## Response Format:\n\nYou MUST strictly adhere to the following schema to reply:\n${schema}`;

/**
 * The text before message 0 in thinking mode (spec 5.3); "" if the release has none. Throws INVALID_REQUEST for an
 * effort that the release lacks.
 */
export function effortText(release: Release, effort: Effort | null): string {
  if (release === "v41") return budgetText(effort);
  if (typeof effort === "number") throw refuse(`must be "low", "high" or "max" for this model, not a number`);
  if (effort === null) return "";
  return EFFORT_TEXTS[release][effort];
}

function budgetText(effort: Effort | null): string {
  const budget = typeof effort === "number" ? effort : BUDGETS[effort ?? "high"];
  if (!Number.isInteger(budget) || budget < 1 || budget > 100) throw refuse("must be a whole number from 1 to 100");
  return `Reasoning Effort: ${budget} (range 1-100, the higher the value, the more thorough the reasoning)\n\n`;
}

const refuse = (why: string) => refusal(`reasoning_effort ${why}`, { param: "reasoning_effort" });

const BUDGETS = { low: 50, high: 75, max: 100 } as const;

const ABSOLUTE_MAXIMUM =
  "Reasoning Effort: Absolute maximum with no shortcuts permitted.\nYou MUST be very thorough in your thinking and comprehensively decompose the problem to resolve the root cause, rigorously stress-testing your logic against all potential paths, edge cases, and adversarial scenarios.\nExplicitly write out your entire deliberation process, documenting every intermediate step, considered alternative, and rejected hypothesis to ensure absolutely no assumption is left unchecked.\n\n";

const BEYOND_MAXIMUM =
  "Reasoning Effort: Beyond maximum — exhaustive, relentless, and uncompromising.\nYou MUST reason with the utmost depth and rigor, leaving absolutely nothing to chance: exhaustively decompose the problem into its most fundamental components, trace every causal chain to its root, and resolve the underlying cause rather than any surface symptom.\nDo not stop reasoning until you have independently verified the solution from multiple angles and are certain that no assumption remains unchecked and no error remains undiscovered.\n\n";

/** The preview has nothing weaker than its default, so "low" is the default. */
const EFFORT_TEXTS = {
  preview: { low: "", high: "", max: ABSOLUTE_MAXIMUM },
  "0731": { low: "", high: ABSOLUTE_MAXIMUM, max: BEYOND_MAXIMUM },
} as const;
