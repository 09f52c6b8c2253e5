import type { z } from "zod";
import type { Effort } from "../../shared/engine/chat/messages.ts";
import type { effort } from "../requests.ts";

/** How long to think, in the words of OpenAI's and DeepSeek's clients. */
export type EffortWord = z.output<typeof effort>;

/** DeepSeek's mapping (docs/api.md). null: the release's own effort. */
const EFFORTS: Readonly<Record<EffortWord, Effort | null>> = {
  none: null,
  minimal: "low",
  low: "low",
  medium: "high",
  high: "high",
  xhigh: "high",
  max: "max",
  ultra: "max",
};

export const effortOf = (word: EffortWord | undefined): Effort | null => (word === undefined ? null : EFFORTS[word]);

/** Whether who asks for an effort asks for thoughts; who asks for none in particular gets the server's setting. */
export const thinksBy = (word: EffortWord | undefined, setting: boolean): boolean => (word === undefined ? setting : word !== "none");
