import { TextStream } from "../../services/shared/engine/text.ts";
import type { Tokenizer } from "../../services/shared/engine/tokenizer/tokenizer.ts";

/** The text of `ids` as readers of an answer get it. `skipSpecial`: without the tokens that are markup. */
export function decode(tokenizer: Tokenizer, ids: ArrayLike<number>, { skipSpecial = false } = {}): string {
  const skipped = new Set(skipSpecial ? tokenizer.vocabulary().table.special : []);
  const stream = new TextStream(tokenizer, []);
  const shown = Array.from(ids).filter((id) => !skipped.has(id));
  return shown.map((id) => stream.push(id)).join("") + stream.flush();
}
