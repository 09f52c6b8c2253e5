import { InvalidArgumentError } from "commander";

/** How commander is to read the values of options. */
export function whole(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError("must be a whole number");
  return Number(text);
}

export function positive(text: string): number {
  if (whole(text) === 0) throw new InvalidArgumentError("must be at least 1");
  return whole(text);
}

export function named(text: string): string {
  if (text === "") throw new InvalidArgumentError("must not be empty");
  return text;
}
