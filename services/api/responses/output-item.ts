import type { Delta } from "../../shared/engine/chat/delta.ts";
import { callId, itemId } from "../ids.ts";
import type { Echo } from "./kept.ts";
import type { CalledName } from "./tools.ts";

export type ItemStatus = "in_progress" | "completed" | "incomplete";
interface OutputText {
  readonly type: "output_text";
  text: string;
  readonly annotations: readonly [];
  readonly logprobs: readonly [];
}
interface Thought {
  readonly type: "reasoning_text";
  text: string;
}
interface Common {
  readonly id: string;
  status: ItemStatus;
}
/** An item of the output, which grows. */
export type OutputItem =
  | (Common & { readonly type: "reasoning"; readonly summary: readonly []; content: Thought[]; encrypted_content: string | undefined })
  | (Common & { readonly type: "message"; readonly role: "assistant"; content: OutputText[] })
  | (Common & CalledName & { readonly type: "function_call"; readonly call_id: string; arguments: string });

/** The item that begins with `delta`, at its place in the output of a job. `names`: as `Echo` has them. */
export function newItem(delta: Delta, jobId: string, place: number, names: Echo["names"] = {}): OutputItem {
  const started = { status: "in_progress" } as const;
  if (delta.type === "reasoning") {
    const id = itemId("rs", jobId, place);
    return { ...started, id, type: "reasoning", summary: [], content: [], encrypted_content: undefined };
  }
  if (delta.type === "content") return { ...started, id: itemId("msg", jobId, place), type: "message", role: "assistant", content: [] };
  const [index, name] = delta.type === "call" ? [delta.index, delta.name] : [0, ""];
  const called = Object.hasOwn(names, name) ? names[name]! : { name, namespace: undefined };
  const id = itemId("fc", jobId, place);
  return { ...started, id, type: "function_call", call_id: callId(jobId, index), ...called, arguments: "" };
}

/** What events about an item's text have beside it. */
export const ofText = ({ type }: OutputItem): object => (type === "message" ? { logprobs: [] } : {});
