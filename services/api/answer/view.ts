import type { JobRequest } from "../../shared/bus/events.ts";
import type { Delta } from "../../shared/engine/chat/delta.ts";
import { THINK_END } from "../../shared/engine/chat/dialect.ts";
import type { Release } from "../../shared/engine/chat/messages.ts";
import { OutputStream } from "../../shared/engine/chat/output.ts";
import type { ResponseView } from "../responses/kept.ts";
import type { DeltaParser } from "./answer.ts";

/** What a replica needs beside the log to show an answer the way it was asked for. Stored with the job, so it only ever gains fields. */
export interface View {
  readonly surface: "chat" | "completion" | "messages" | "responses";
  /** Unix seconds: part of every chunk. */
  readonly created: number;
  /** The answer begins inside the reasoning. */
  readonly thinking: boolean;
  readonly tools: boolean;
  readonly release: Release;
  /** Of a request for several answers, all but the first: its place among them, and the job of the first. */
  readonly choice?: { readonly index: number; readonly of: string };
  readonly response?: ResponseView;
  /** The request asked for the usage behind its stream. */
  readonly usage?: true;
  /** What the prompt has of the answer already: the model goes on behind it, and readers get it first. */
  readonly begun?: string;
}

/** The view that a job was submitted with. */
export const submittedView = ({ view }: Pick<JobRequest, "view">): View => JSON.parse(view) as View;

/** A completion is text and nothing else; a chat's reasoning and tool calls are told apart. */
export function parserFor(view: View): DeltaParser {
  if (view.surface === "completion") return plainText;
  const parser = new OutputStream({ ...view, marks: "apart" });
  return view.begun === undefined ? parser : behind(view.begun, parser);
}

/** Gives what `begun` means with the first of the answer that comes. */
function behind(begun: string, parser: OutputStream): DeltaParser {
  let first = begun;
  const once = () => {
    const text = first;
    first = "";
    return text;
  };
  return {
    get reasoning() {
      return parser.reasoning;
    },
    push: (text) => parser.push(once() + text),
    thinkEnd: () => [...parser.push(once()), ...parser.thinkEnd()],
    end: () => [...parser.push(once()), ...parser.end()],
  };
}

const plain = (text: string): readonly Delta[] => (text === "" ? [] : [{ type: "content", text }]);
const plainText: DeltaParser = {
  reasoning: false,
  push: plain,
  thinkEnd: () => plain(THINK_END),
  end: () => [],
};
