import { printJson, readJson } from "./python-json.ts";

/**
 * The arguments of one call:
 * reads its parameters one after the other, and returns fragments of JSON text that form one object once it is closed.
 */
export class CallArguments {
  readonly #names = new Set<string>();
  #isString = false;
  /** The text so far of a value that is not a string. */
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

  /** More of the current value. */
  more(text: string): string {
    if (this.#isString) return JSON.stringify(text).slice(1, -1);
    this.#value += text;
    return text;
  }

  /** Whether the value just read is what its parameter declares: a string, or JSON. */
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
