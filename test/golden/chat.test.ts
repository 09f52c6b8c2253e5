import { expect, test } from "vitest";
import { runChatGolden } from "./suites/chat.ts";

test("every golden prompt is written and every golden output is read as expected", async () => {
  const result = await runChatGolden(new URL("data/chat", import.meta.url).pathname);
  expect(result.failures).toEqual([]);
  expect(result.compared).toBe(46 + 38);
});
