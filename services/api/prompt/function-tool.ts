import type { Printable } from "../../shared/engine/chat/python-json.ts";

/** A tool in the form of chat completions, which prompts are written from. */
export const functionTool = (name: string, description: string | undefined, parameters: Printable | undefined): Printable => ({
  type: "function",
  function: { name, ...(description !== undefined && { description }), ...(parameters !== undefined && { parameters }) },
});
