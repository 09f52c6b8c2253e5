import type { View } from "./answer/view.ts";

/** Ids of what is told of a job are made from its own: one job, one answer, one id, on every replica. */
const keyOf = (jobId: string): string => jobId.slice("job_".length);

export const isJobId = (id: string): boolean => /^job_[0-9a-z]{20}$/.test(id);

const ANSWERS = { chat: "chatcmpl-", completion: "cmpl-", messages: "msg_", responses: "resp_" } as const;
export const answerId = (surface: View["surface"], jobId: string): string => ANSWERS[surface] + keyOf(jobId);

/** The job of a response; null for what is no id of one. */
export function jobOfResponse(id: string): string | null {
  const [key] = /^resp_([0-9a-z]{20})$/.exec(id)?.slice(1) ?? [];
  return key === undefined ? null : `job_${key}`;
}

/** An item of a response: by its place in the output (reasoning, message, call), or among what was asked. */
export const itemId = (kind: "rs" | "msg" | "fc" | "item", jobId: string, place: number): string => `${kind}_${keyOf(jobId)}_${place}`;

/** The response that has the item, and where. */
export function responseOfItem(id: string): { readonly response: string; readonly part: "input" | "output" } | null {
  const [kind, key] = /^(rs|msg|fc|item)_([0-9a-z]{20})_\d{1,6}$/.exec(id)?.slice(1) ?? [];
  return key === undefined ? null : { response: `resp_${key}`, part: kind === "item" ? "input" : "output" };
}

/** A call of a tool, by its place in the answer. */
export const callId = (jobId: string, index: number): string => `call_${keyOf(jobId)}_${index}`;
export const toolUseId = (jobId: string, index: number): string => `toolu_${keyOf(jobId)}_${index}`;

/** The job that made a call, and its place there. */
export function callOf(id: string): { readonly jobId: string; readonly index: number } | null {
  const [key, index] = /^(?:call|toolu)_([0-9a-z]{20})_(\d{1,6})$/.exec(id)?.slice(1) ?? [];
  return key === undefined ? null : { jobId: `job_${key}`, index: Number(index) };
}
