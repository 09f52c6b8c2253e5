import { parseArgs } from "node:util";

/** A whole number, a text, or a flag. */
type Kind = number | string | boolean;
type Told<Options> = {
  readonly [Name in keyof Options]: Options[Name] extends number ? number : Options[Name] extends string ? string : boolean;
};

/**
 * A script's command line: options of the kinds in `fallbacks`, which are their defaults, and at most `wordsMax` words.
 * `--help` prints `usage` and ends the script with 0, a command line that cannot be read with 2.
 */
export function told<const Options extends Readonly<Record<string, Kind>>>(
  usage: string,
  fallbacks: Options,
  wordsMax = 0,
): { readonly options: Told<Options>; readonly words: readonly string[] } {
  const names = Object.entries<Kind>(fallbacks);
  const known = names.map(([name, fallback]) => [name, { type: typeof fallback === "boolean" ? "boolean" : "string" }] as const);
  try {
    const { values, positionals }: { values: Readonly<Record<string, unknown>>; positionals: string[] } = parseArgs({
      options: { ...Object.fromEntries(known), help: { type: "boolean", short: "h" } },
      allowPositionals: true,
    });
    if (values.help === true) {
      console.log(usage);
      process.exit(0);
    }
    if (positionals.length > wordsMax) throw new Error(`${positionals[wordsMax]}: one word too many`);
    const options = names.map(([name, fallback]) => [name, values[name] === undefined ? fallback : read(name, values[name], fallback)]);
    return { options: Object.fromEntries(options) as Told<Options>, words: positionals };
  } catch (error) {
    console.error(`${(error as Error).message}\n\n${usage}`);
    process.exit(2);
  }
}

function read(name: string, given: unknown, fallback: Kind): Kind {
  if (typeof fallback !== "number") return given as Kind;
  if (!/^\d{1,15}$/.test(String(given))) throw new Error(`--${name} ${given}: must be a whole number`);
  return Number(given);
}
