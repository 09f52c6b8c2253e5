import fc from "fast-check";
import { type Json, posts, TOKENS } from "./examples.ts";

const anything: fc.Arbitrary<Json> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.constantFrom<Json[]>(
      null,
      true,
      0,
      -1,
      2,
      1e300,
      2 ** 53,
      "",
      "x",
      "\ud800",
      [],
      {},
      [null],
      [[]],
      "</think>",
      "<｜User｜>",
    ),
  },
  { weight: 1, arbitrary: fc.jsonValue({ maxDepth: 4 }) as fc.Arbitrary<Json> },
);

/** Names that mean something elsewhere, or only to the code. */
const anyKey = fc.oneof(
  fc.constantFrom(
    ...new Set(posts.flatMap(([, example]) => pathsOf(example).flat())),
    "wo_eos",
    "task",
    "response_format",
    "max_completion_tokens",
    "view",
    "suffix",
    "echo",
    "best_of",
    "input",
  ),
  fc.string(),
);

/** `value` with what lies at one of its paths replaced, removed, doubled or given a neighbour. */
const changed = (value: Json): fc.Arbitrary<Json> =>
  fc
    .tuple(fc.constantFrom(...pathsOf(value)), fc.constantFrom("replace", "remove", "double", "add"), anything, anyKey)
    .map(([path, how, other, key]) => {
      const copy = structuredClone(value);
      if (path.length === 0) return how === "remove" ? null : other;
      const parent = path.slice(0, -1).reduce<Json>((inner, step) => (inner as { [key: string]: Json })[step]!, copy) as {
        [key: string]: Json;
      };
      const last = path.at(-1)!;
      if (how === "remove") delete parent[last];
      else if (how === "double" && Array.isArray(parent)) parent.push(structuredClone(parent[Number(last)]!));
      else if (how === "add" && !Array.isArray(parent)) parent[key] = other;
      else parent[last] = other;
      return copy;
    });

function pathsOf(value: Json): string[][] {
  return value === null || typeof value !== "object"
    ? [[]]
    : [[], ...Object.entries(value).flatMap(([key, inner]) => pathsOf(inner).map((path) => [key, ...path]))];
}

export const changedOften = (value: Json): fc.Arbitrary<Json> => changed(value).chain((once) => fc.oneof(fc.constant(once), changed(once)));

/** Short answers: the lengths that are left as the client would have sent them are cut. */
export function short(value: Json): Json {
  if (value === null || typeof value !== "object" || Array.isArray(value)) return value;
  const { request } = value;
  const own = (length: Json | undefined) => typeof length === "number" || length === undefined || length === null;
  const tokens = {
    ...(own(value.max_tokens) && { max_tokens: TOKENS }),
    ...("input" in value && own(value.max_output_tokens) && { max_output_tokens: TOKENS }),
  };
  return { ...value, ...tokens, ...(request !== undefined && { request: short(request) }) };
}
