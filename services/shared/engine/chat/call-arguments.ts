import { printJson, readJson } from "./python-json.ts";

/** The arguments of one call: reads their parameters one after the other, and gives fragments that make one JSON object when it is closed. */
export class CallArguments {
  readonly #names = new Set<string>();
  #isString = false;
  /** Of a value that is not a string, what came of it. */
  #value = "";

  get empty(): boolean {
    return this.#names.size === 0;
  }

  has(name: string): boolean {
    return this.#names.has(name);
  }

  begin(name: string, isString: boolean): string {
    const before = this.empty ? "{" : ", ";
    this.#names.add(name);
    this.#isString = isString;
    this.#value = "";
    return `${before}${printJson(name)}: ${isString ? '"' : ""}`;
  }

  /** More of the value that began. */
  more(text: string): string {
    if (this.#isString) return JSON.stringify(text).slice(1, -1);
    this.#value += text;
    return text;
  }

  /** Whether the value that is over is what its parameter says of it. */
  get valid(): boolean {
    return this.#isString || isJson(this.#value);
  }

  end(): string {
    return this.#isString ? '"' : "";
  }

  close(): string {
    return this.empty ? "{}" : "}";
  }
}

function isJson(text: string): boolean {
  try {
    readJson(text);
    return true;
  } catch {
    return false;
  }
}
