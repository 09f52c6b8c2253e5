import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { configReference } from "../../../services/cli/config-reference.ts";

test("docs/configuration.md says what the config module says", () => {
  expect(readFileSync("docs/configuration.md", "utf8"), "run: longshore config > docs/configuration.md").toBe(configReference());
});
