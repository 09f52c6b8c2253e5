import type { Release } from "../shared/engine/chat/messages.ts";
import { type DeltaParser, plainParser } from "./answer.ts";

/** What a replica needs beside the log to show an answer the way it was asked for. Stored with the job, so it only ever gains fields. */
export interface View {
  readonly surface: "chat" | "completion";
  /** Unix seconds: part of every chunk. */
  readonly created: number;
  /** The answer begins inside the reasoning. */
  readonly thinking: boolean;
  readonly tools: boolean;
  readonly release: Release;
}

export function parserFor(view: View): DeltaParser {
  return plainParser;
}

/** Ids of the surfaces, made from the job's: one job, one answer, one id. */
export const answerId = (surface: View["surface"], jobId: string): string =>
  `${surface === "chat" ? "chatcmpl" : "cmpl"}-${jobId.slice("job_".length)}`;
