import { expect, test } from "vitest";
import { runTokenizerGolden } from "./suites/tokenizer.ts";

test("every golden tokenizer case is reproduced", async () => {
  const result = await runTokenizerGolden(new URL("data/tokenizer", import.meta.url).pathname);
  expect(result.failures).toEqual([]);
  expect(result.compared).toBe(3 * 289 + 22);
});
