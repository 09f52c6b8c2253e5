/** A piece of the answer that is certain. The deltas of one call come in order: its name, then its arguments in fragments of JSON text. */
export type Delta =
  | { readonly type: "reasoning" | "content"; readonly text: string }
  | { readonly type: "call"; readonly index: number; readonly name: string }
  | { readonly type: "arguments"; readonly index: number; readonly text: string };

/** What a delta goes on with: deltas of one block that follow each other are one to a client. */
export const blockOf = (delta: Delta): string => ("index" in delta ? `call ${delta.index}` : delta.type);

/** Empty where it brings a call's name. */
export const textOf = (delta: Delta): string => ("text" in delta ? delta.text : "");

/** What a client has after all deltas. */
export interface Joined {
  readonly reasoning: string;
  readonly content: string;
  readonly toolCalls: readonly { readonly name: string; readonly arguments: string }[];
}

export function joinDeltas(deltas: readonly Delta[]): Joined {
  const all = { reasoning: "", content: "" };
  const toolCalls: { name: string; arguments: string }[] = [];
  for (const delta of deltas) {
    if (delta.type === "call") toolCalls.push({ name: delta.name, arguments: "" });
    else if (delta.type === "arguments") toolCalls[delta.index]!.arguments += delta.text;
    else all[delta.type] += delta.text;
  }
  return { ...all, toolCalls };
}
