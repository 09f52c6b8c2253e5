import { CallArguments } from "./call-arguments.ts";
import { type Delta, type Joined, joinDeltas } from "./delta.ts";
import { BOS, DSML, EOS, type Tags, THINK_END, THINK_START, tagsOf } from "./dialect.ts";
import type { Release } from "./messages.ts";
import { Scanner } from "./scanner.ts";

interface OutputOptions {
  readonly release: Release;
  /** The prompt ended in `<think>`: the text begins with reasoning. */
  readonly thinking: boolean;
  /**
   * Where `</think>` and the end of the sentence come from: spelled in the text, as in output given as text alone (the
   * default), or told apart from it, as tokens tell them. Told apart, what spells them is text like any other, and
   * `problem` cannot tell whether the output ended.
   */
  readonly marks?: "in text" | "apart";
}

export interface ParsedOutput extends Joined {
  /**
   * Why a strict reader refuses the output (spec 5.5), or null. The other fields hold what was read, the rest as text.
   */
  readonly problem: Problem | null;
}

type Problem =
  | "no_think_end"
  | "no_eos"
  | "text_after_eos"
  | "special_token"
  | "tool_block"
  | "tool_name"
  | "parameter"
  | "duplicate_parameter"
  | "parameter_json"
  | "text_after_tools";

/** The whole output at once. */
export function parseOutput(text: string, options: OutputOptions): ParsedOutput {
  const stream = new OutputStream(options);
  return { ...joinDeltas([...stream.push(text), ...stream.end()]), problem: stream.problem };
}

/**
 * Reads model output as it comes (spec 5.5). Feed whole characters. Incomplete markup is held back; everything else is
 * passed on at once. How the text is split makes no difference to the joined deltas.
 *
 * Production is lenient: where the markup contradicts the grammar, the rest is passed on as content, and a call it cut
 * off keeps its arguments open, so that nobody takes them for complete JSON. `problem` is a strict reader's objection.
 */
export class OutputStream {
  readonly #tags: Tags;
  readonly #opener: string;
  readonly #textMarks: readonly string[];
  readonly #endMarks: readonly string[];
  #state: State;
  readonly #scanner = new Scanner();
  #deltas: Delta[] = [];
  #firstProblem: Problem | null = null;
  #calls = 0;
  #call = new CallArguments();

  constructor({ release, thinking, marks = "in text" }: OutputOptions) {
    this.#tags = tagsOf(release);
    this.#opener = `\n\n<${this.#tags.calls}>\n`;
    this.#endMarks = marks === "apart" ? [] : [EOS];
    this.#textMarks = [...this.#endMarks, ...(marks === "apart" ? [] : [THINK_END]), BOS, THINK_START, DSML, this.#opener];
    this.#state = thinking ? "reasoning" : "content";
  }

  get problem(): Problem | null {
    return this.#firstProblem;
  }

  /** Whether the text so far ends inside the reasoning. */
  get reasoning(): boolean {
    return this.#state === "reasoning";
  }

  push(text: string): Delta[] {
    this.#scanner.feed(text);
    while (this.#advance());
    return this.#take();
  }

  /** `</think>` as a token of its own: the end of the reasoning, and text everywhere else. */
  thinkEnd(): Delta[] {
    if (this.#state !== "reasoning") return this.push(THINK_END);
    this.#emitText("reasoning", this.#scanner.rest());
    this.#state = "content";
    return this.#take();
  }

  /** No more text comes. What was held back becomes text, except inside a tool block: half a tag says nothing. */
  end(): Delta[] {
    const rest = this.#scanner.rest();
    if (this.#state === "reasoning") this.#emitText("reasoning", rest);
    if (this.#state === "content" || this.#state === "broken" || this.#state === "closed") this.#emitText("content", rest);
    if (this.#state === "value") this.#emitArguments(this.#call.more(rest));
    const cutOff = this.#state === "closed" && rest !== "" ? "text_after_tools" : CUT_OFF[this.#state];
    if (cutOff !== null) this.#complain(cutOff);
    this.#state = "ended";
    return this.#take();
  }

  #take(): Delta[] {
    const deltas = this.#deltas;
    this.#deltas = [];
    return deltas;
  }

  /** Reads one element. False: more text is needed. */
  #advance(): boolean {
    switch (this.#state) {
      case "reasoning":
      case "content":
        return this.#readText(this.#state);
      case "block":
        return this.#readBlock();
      case "parameters":
        return this.#readParameter();
      case "value":
        return this.#readValue();
      case "afterValue":
        return this.#readAfterValue();
      case "closed":
        return this.#readClosed();
      case "ended":
        return this.#readEnded();
      case "broken":
        return this.#readBroken();
    }
  }

  #readText(state: "reasoning" | "content"): boolean {
    const { text, mark } = this.#scanner.upTo(this.#textMarks);
    this.#emitText(state, text);
    if (mark === null) return false;
    if (mark === EOS) this.#endText(state);
    else if (mark === THINK_END && state === "reasoning") this.#state = "content";
    else if (mark === this.#opener && state === "content") this.#state = "block";
    else {
      this.#complain("special_token");
      this.#emitText(state, mark);
    }
    return true;
  }

  #endText(state: "reasoning" | "content"): void {
    if (state === "reasoning") this.#complain("no_think_end");
    this.#state = "ended";
  }

  #readBlock(): boolean {
    const end = this.#scanner.takes(`</${this.#tags.calls}>`);
    if (end === true) this.#state = "closed";
    if (end !== false) return end !== null;
    const name = this.#scanner.takesNamed(`<${this.#tags.invoke} name="`, [`">\n`]);
    if (name === null) return false;
    if (name === false)
      return this.#breaks(
        this.#scanner.startsWith(`<${this.#tags.invoke}`) ? "tool_name" : "tool_block",
        this.#calls === 0 ? this.#opener : "",
      );
    this.#deltas.push({ type: "call", index: this.#calls++, name: name.name });
    this.#call = new CallArguments();
    this.#state = "parameters";
    return true;
  }

  #readParameter(): boolean {
    const closing = `</${this.#tags.invoke}>\n`;
    const ends = this.#call.empty ? [closing, `\n${closing}`] : [closing];
    const found = this.#scanner.takes(ends.find((end) => this.#scanner.mayStart(end)) ?? closing);
    if (found === true) {
      this.#emitArguments(this.#call.close());
      this.#state = "block";
    }
    if (found !== false) return found !== null;
    const parameter = this.#scanner.takesNamed(`<${this.#tags.parameter} name="`, [`" string="true">`, `" string="false">`]);
    if (parameter === null) return false;
    if (parameter === false) return this.#breaks(this.#scanner.startsWith(`<${this.#tags.parameter}`) ? "parameter" : "tool_block");
    this.#beginValue(parameter.name, parameter.end.includes("true"));
    return true;
  }

  #beginValue(name: string, isString: boolean): void {
    if (this.#call.has(name)) this.#complain("duplicate_parameter");
    this.#emitArguments(this.#call.begin(name, isString));
    this.#state = "value";
  }

  #readValue(): boolean {
    const { text, mark } = this.#scanner.upTo([`</${this.#tags.parameter}>`, ...this.#endMarks]);
    this.#emitArguments(this.#call.more(text));
    if (mark === null) return false;
    if (mark === EOS) return this.#breaks("parameter", mark);
    if (!this.#call.valid) this.#complain("parameter_json");
    this.#emitArguments(this.#call.end());
    this.#state = "afterValue";
    return true;
  }

  #readAfterValue(): boolean {
    const found = this.#scanner.takes("\n");
    if (found === true) this.#state = "parameters";
    return found === false ? this.#breaks("parameter") : found !== null;
  }

  #readClosed(): boolean {
    const { text, mark } = this.#scanner.upTo(this.#endMarks);
    if (text !== "") return this.#breaks("text_after_tools", text + (mark ?? ""));
    if (mark !== null) this.#state = "ended";
    return mark !== null;
  }

  #readEnded(): false {
    if (this.#scanner.rest() !== "") this.#complain("text_after_eos");
    return false;
  }

  #readBroken(): boolean {
    const { text, mark } = this.#scanner.upTo(this.#endMarks);
    this.#emitText("content", text);
    if (mark !== null) this.#state = "ended";
    return mark !== null;
  }

  /** Gives up on the markup: `taken` and everything after it is content. */
  #breaks(problem: Problem, taken = ""): true {
    this.#complain(problem);
    this.#scanner.unread(taken);
    this.#state = "broken";
    return true;
  }

  #complain(problem: Problem): void {
    this.#firstProblem ??= problem;
  }

  #emitText(type: "reasoning" | "content", text: string): void {
    if (text !== "") this.#deltas.push({ type, text });
  }

  #emitArguments(text: string): void {
    if (text !== "") this.#deltas.push({ type: "arguments", index: this.#calls - 1, text });
  }
}

type State = "reasoning" | "content" | "block" | "parameters" | "value" | "afterValue" | "closed" | "ended" | "broken";

/** The problem of a text that ends in a state; null: nothing is missing. */
const CUT_OFF: Readonly<Record<State, Problem | null>> = {
  reasoning: "no_think_end",
  content: "no_eos",
  block: "tool_block",
  parameters: "tool_block",
  value: "parameter",
  afterValue: "parameter",
  closed: null,
  ended: null,
  broken: null,
};
