import { TextStream, type TokenTexts } from "../shared/engine/text.ts";
import type { WatchText } from "./answer.ts";

/** Finds stop strings in the text of an answer, by the same rules that cut it for its readers. */
export const watchTextOf =
  (tokenizer: TokenTexts): WatchText =>
  (stops) => {
    const text = new TextStream(tokenizer, stops);
    return {
      push: (id) => {
        text.push(id);
        return text.stopped !== null;
      },
    };
  };
