import { expect, test } from "vitest";
import { functionTool } from "../../../services/api/prompt/function-tool.ts";
import { chosenTools } from "../../../services/api/prompt/tool-choice.ts";

test("of many tools of which many are allowed, each is looked at a few times", () => {
  const names = Array.from({ length: 500 }, (_, i) => `f${i}`);
  let looks = 0;
  const watched = <T extends object>(list: T): T =>
    new Proxy(list, {
      get(target, key, receiver) {
        if (/^\d+$/.test(String(key))) looks++;
        return Reflect.get(target, key, receiver);
      },
    });
  const tools = watched(names.map((name) => functionTool(name, undefined, undefined)));
  const allowed = watched(names.slice(100).toReversed());
  expect(chosenTools(tools, { mode: "auto", allowed })).toHaveLength(400);
  expect(looks).toBeLessThanOrEqual(3 * names.length);
});

test("a name that no tool has is told, and only what is allowed is chosen, in the order of the tools", () => {
  const tools = ["a", "b", "c"].map((name) => functionTool(name, undefined, undefined));
  expect(chosenTools(tools, { mode: "auto", allowed: ["c", "a", "c"] })).toEqual([tools[0], tools[2]]);
  expect(() => chosenTools(tools, { mode: "auto", allowed: ["d"] })).toThrow('no tool is named "d"');
});
