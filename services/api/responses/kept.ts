import type { Bus } from "../../shared/bus/contract.ts";
import { ServingError } from "../../shared/runtime/errors.ts";
import type { View } from "../answer/view.ts";
import type { Item } from "./requests.ts";
import type { CalledName } from "./tools.ts";

/** What is kept of a request for a response. */
export interface ResponseView {
  /** It may be retrieved and continued. */
  readonly store: boolean;
  readonly background: boolean;
  /** The fields of the request that a response repeats. */
  readonly echo: Kept<Echo>;
  /** The whole conversation before the answer, what earlier responses said included; none without `store`. */
  readonly input: Kept<readonly Item[]>;
}

export interface Echo {
  /** Of reasoning: hand it back in a form that clients return even where they drop what they can read. */
  readonly encrypted: boolean;
  /** Of functions in namespaces: how calls name what the model calls by one name. Absent in what earlier versions kept. */
  readonly names?: Readonly<Record<string, CalledName>>;
  readonly fields: Readonly<Record<string, unknown>>;
  /** As JSON, in place of those in `fields`, whose numbers are doubles. Absent where these say the same. */
  readonly exactTools?: string;
}

/** In the view while it is small, else in a payload named `<job>.<field>`. */
export type Kept<T> = { readonly value: T } | "payload";

const FIELDS = ["echo", "input"] as const;
type Field = (typeof FIELDS)[number];

export const payloadKey = (jobId: string, name: string): string => `${jobId}.${name}`;

export const echoKept = (bus: Bus, jobId: string, { echo }: ResponseView): Promise<Echo> => read(bus, jobId, "echo", echo);
export const inputKept = (bus: Bus, jobId: string, { input }: ResponseView): Promise<readonly Item[]> => read(bus, jobId, "input", input);

async function read<T>(bus: Bus, jobId: string, name: Field, kept: Kept<T>): Promise<T> {
  if (kept !== "payload") return kept.value;
  const bytes = await bus.payloads.get(payloadKey(jobId, name));
  if (bytes === null) throw new ServingError("NOT_FOUND", `the request of job ${jobId} is no longer kept`);
  return JSON.parse(Buffer.from(bytes).toString("utf8")) as T;
}

/** Both fields inline leave room for the rest of a view. */
const INLINE_BYTES_MAX = 24_576;

/** The view as it goes into the log, and what goes beside it. */
export function writtenView(view: View): { readonly text: string; readonly payloads: ReadonlyMap<Field, Uint8Array> } {
  const payloads = new Map<Field, Uint8Array>();
  const written = (name: Field, kept: Kept<unknown>): Kept<unknown> => {
    const bytes = kept === "payload" ? Buffer.alloc(0) : Buffer.from(JSON.stringify(kept.value));
    if (bytes.length <= INLINE_BYTES_MAX) return kept;
    payloads.set(name, bytes);
    return "payload";
  };
  const { response } = view;
  if (response === undefined) return { text: JSON.stringify(view), payloads };
  const small = { ...response, echo: written("echo", response.echo), input: written("input", response.input) };
  return { text: JSON.stringify({ ...view, response: small }), payloads };
}

/** Where the rest of a job's view lies; of one that cannot be read, where it may lie. */
export const payloadKeys = (jobId: string, view: View | null): readonly string[] =>
  FIELDS.filter((name) => view === null || view.response?.[name] === "payload").map((name) => payloadKey(jobId, name));
