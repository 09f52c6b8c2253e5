import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Tokenizer } from "../../shared/engine/tokenizer/tokenizer.ts";
import { refusal } from "../../shared/runtime/errors.ts";
import { seededRandom } from "../../shared/runtime/random.ts";
import type { Client } from "../client.ts";
import { openProgress } from "../progress.ts";
import { generateYardlog, yardlogMessage } from "../yardlog.ts";
import { ask } from "./ask.ts";

/** A row of the model's rates.json: what its reference reached. */
interface Rate {
  readonly tokens: number;
  readonly documents: number;
  readonly questions: number;
  readonly exact: number;
  readonly seed: number;
}

/** Measures the rates of the model's README on documents of our own, as many and as long as the reference's, and prints both. */
export async function rates(
  client: Client,
  { folder, tokenizer, model }: { folder: string; tokenizer: Tokenizer; model: string },
): Promise<void> {
  const path = join(folder, "rates.json");
  const text = await readFile(path, "utf8").catch((cause: Error) => {
    throw refusal(`--long compares with ${path}, which only the demonstration model has: ${cause.message}`, { cause });
  });
  const rows = JSON.parse(text) as Rate[];
  console.log("\ndocument tokens   documents   answered exactly          reference");
  for (const { tokens, documents, questions, exact, seed } of rows) {
    const random = seededRandom(seed);
    const progress = openProgress(`${tokens} tokens`);
    let asked = 0;
    let right = 0;
    for (let document = 0; document < documents; document++) {
      const log = await generateYardlog({ folder, tokenizer, random, tokens, questions: questions / documents });
      for (const { question, truth } of log.questions) {
        const { answer } = await ask(client, { model, content: yardlogMessage(log.text, question) }, () => {});
        if (answer === truth) right++;
        progress.update(++asked, questions, `${right} right`);
      }
    }
    progress.end();
    console.log(
      `${String(tokens).padStart(15)}   ${String(documents).padStart(9)}   ${share(right, questions).padEnd(22)}   ${share(exact, questions)}`,
    );
  }
  console.log();
}

const share = (part: number, whole: number): string => `${part} of ${whole} (${((100 * part) / whole).toFixed(1)} %)`;
