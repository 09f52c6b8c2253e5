import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { TextStream } from "../../../services/shared/engine/text.ts";
import { Tokenizer } from "../../../services/shared/engine/tokenizer/tokenizer.ts";
import { decode } from "../../support/decode.ts";
import type { SuiteResult } from "./result.ts";

/** Every case of a folder with tokenizer.json and cases.json: encoding, decoding with and without special tokens, incremental text. */
export async function runTokenizerGolden(folder: string): Promise<SuiteResult> {
  const tokenizer = await Tokenizer.load(folder);
  const cases = JSON.parse(await readFile(join(folder, "cases.json"), "utf8")) as Cases;
  const failures: string[] = [];
  const check = (name: string, ours: unknown, golden: unknown) => {
    const [a, b] = [JSON.stringify(ours), JSON.stringify(golden)];
    if (a !== b) failures.push(`${name}: ${a} instead of ${b}`);
  };

  for (const { text, ids, decoded = text, decoded_skip_special = decoded } of cases.encode ?? []) {
    const name = JSON.stringify(text.slice(0, 60));
    check(`encode ${name}`, [...(await tokenizer.encode(text))], ids);
    check(`decode ${name}`, decode(tokenizer, ids), decoded);
    check(`decode without special tokens ${name}`, decode(tokenizer, ids, { skipSpecial: true }), decoded_skip_special);
  }
  for (const { name, ids, pieces } of cases.incremental ?? []) {
    const stream = new TextStream(tokenizer, []);
    check(`incremental ${name}`, [...ids.map((id) => stream.push(id)), stream.flush()], pieces);
  }

  const compared = 3 * (cases.encode?.length ?? 0) + (cases.incremental?.length ?? 0);
  if (compared === 0) failures.push(`${folder} has no cases to compare`);
  return { suite: "tokenizer", compared, worst: failures.length, tolerance: "exact", failures };
}

interface Cases {
  readonly encode?: readonly {
    readonly text: string;
    readonly ids: readonly number[];
    readonly decoded?: string;
    readonly decoded_skip_special?: string;
  }[];
  readonly incremental?: readonly { readonly name: string; readonly ids: readonly number[]; readonly pieces: readonly string[] }[];
}
