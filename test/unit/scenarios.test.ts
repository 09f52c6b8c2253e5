import { readFileSync } from "node:fs";
import { expect, test } from "vitest";

test("docs/testing.md names tests that exist, for every failure scenario", () => {
  const rows = [...readFileSync("docs/testing.md", "utf8").matchAll(/^\| (\d+) \| (.+) \| (.*) \|$/gm)];
  expect(rows.map(([, number]) => Number(number))).toEqual(Array.from({ length: 25 }, (_, i) => i + 1));
  const missing: string[] = [];
  for (const [, , , tests] of rows) {
    for (const [, file, names] of tests!.matchAll(/`([\w/-]+)` ("[^`]*")/g)) {
      const source = readFileSync(`test/${file}.test.ts`, "utf8");
      for (const [, name] of names!.matchAll(/"([^"]+)"/g)) if (!source.includes(name!)) missing.push(`${file}: ${name}`);
    }
  }
  expect(missing).toEqual([]);
});
