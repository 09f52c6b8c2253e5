/**
 * A piece of the answer that will not change. The deltas of one call come in order:
 * its name, then its arguments in fragments of JSON text.
 */
export type Delta =
  | { readonly type: "reasoning" | "content"; readonly text: string }
  | { readonly type: "call"; readonly index: number; readonly name: string }
  | { readonly type: "arguments"; readonly index: number; readonly text: string };

/** The block that a delta continues: to a client, consecutive deltas of one block are one. */
export const blockOf = (delta: Delta): string => ("index" in delta ? `call ${delta.index}` : delta.type);

/** Empty for a delta that names a call. */
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
