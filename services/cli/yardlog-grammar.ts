import { readFile } from "node:fs/promises";
import { z } from "zod";
import { ServingError } from "../shared/runtime/errors.ts";

const words = z.array(z.string()).min(1);
const factForm = z.object({ sentence: z.string(), questions: words });
const grammarShape = z.object({
  adjectives: words,
  nouns: words,
  ports: words,
  numbers: z.array(z.number()).min(1),
  filler: z.array(words).min(1),
  facts: z.array(factForm).min(1),
});

/** The words and sentences of the demonstration model's logs: grammar.json of its folder. */
export type Grammar = z.infer<typeof grammarShape>;
export type FactForm = z.infer<typeof factForm>;

/** Throws BAD_CHECKPOINT. */
export async function readGrammar(path: string): Promise<Grammar> {
  try {
    return grammarShape.parse(JSON.parse(await readFile(path, "utf8")));
  } catch (cause) {
    const why = cause instanceof z.ZodError ? z.prettifyError(cause) : (cause as Error).message;
    throw new ServingError("BAD_CHECKPOINT", `${path} is not the grammar of a yard log: ${why}`, { cause });
  }
}

/** No question about a log is longer. */
export function longestQuestion({ facts, adjectives, nouns }: Grammar): string {
  const longest = (texts: readonly string[]) => texts.reduce((a, b) => (b.length > a.length ? b : a), "");
  return longest(facts.flatMap((form) => form.questions)).replace("{name}", `${longest(adjectives)}-${longest(nouns)}`);
}
