import { field, isObject, type Printable } from "../../shared/engine/chat/python-json.ts";

/** A tool in the form of chat completions, which prompts are written from. */
export const functionTool = (name: string, description: string | undefined, parameters: Printable | undefined): Printable => ({
  type: "function",
  function: { name, ...(description !== undefined && { description }), ...(parameters !== undefined && { parameters }) },
});

/** Of a tool in that form; "" where it has none. */
export function nameOf(tool: Printable): string {
  const described = isObject(tool) ? field(tool, "function") : undefined;
  const name = isObject(described) ? field(described, "name") : undefined;
  return typeof name === "string" ? name : "";
}
