import { expect, test } from "vitest";
import type { ProcessPlan } from "../../../services/cli/cluster/plan.ts";
import { startFailure } from "../../../services/cli/cluster/start-failure.ts";

const probe = { kind: "redis", port: 1 } as const;
const plan: ProcessPlan = {
  ...{ name: "redis-1", service: "redis", after: [], program: "redis-server", args: [], env: {}, probe, restarts: false, port: 1 },
};
const end = { ms: 1, how: "exit 1", code: 1 };

test.each([
  ["a place in a file", "Can't open the configuration\nat line 3 of the file\n>>> 'foo'\n"],
  ["brackets", "unexpected end of\n{\n}\n"],
])("what a program says that is not Node is told as it is, also %s", (_, tail) => {
  const { message } = startFailure([{ plan, end, tail, logPath: "LOG" }]);
  expect(message.split("\n  ").slice(1)).toEqual(tail.trimEnd().split("\n"));
});
