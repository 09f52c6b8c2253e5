import type { Bus } from "../../shared/bus/contract.ts";
import { refusal, ServingError } from "../../shared/runtime/errors.ts";
import { answerSoFar, type FoundJob, findJob, unknownJob } from "../answer/follow.ts";
import type { ApiDeps } from "../deps.ts";
import { invalid } from "../errors.ts";
import { jobOfResponse, responseOfItem } from "../ids.ts";
import { identified } from "./items.ts";
import { inputKept, type ResponseView } from "./kept.ts";
import type { Item, RequestItem, ResponsesRequest } from "./requests.ts";
import { writtenOf } from "./surface.ts";
import { ResponseWriter } from "./writer.ts";

/** Responses whose items one request may refer to. */
const REFERRED_MAX = 64;

type Deps = Pick<ApiDeps, "bus" | "model" | "config">;
export interface FoundResponse extends FoundJob {
  readonly response: ResponseView;
}

/** A response that is kept, ready to be written. NOT_FOUND for what is none, was not to be stored, or is another tenant's. */
export async function findResponse(bus: Bus, id: string, tenant: string): Promise<FoundResponse> {
  const unknown = () => new ServingError("NOT_FOUND", `no response ${id.slice(0, 100)}; responses are kept for a limited time`);
  const jobId = jobOfResponse(id);
  if (jobId === null) throw unknown();
  const found = await findJob(bus, jobId, tenant).catch((error) => {
    throw ServingError.from(error).code === "NOT_FOUND" ? unknown() : error;
  });
  const { surface, response } = found.view;
  if (surface !== "responses" || response?.store !== true) throw unknown();
  return { ...found, response };
}

/** A response as far as its log goes. */
export async function writeSoFar(
  { bus, model }: Pick<Deps, "bus" | "model">,
  { jobId, request, view }: FoundResponse,
): Promise<ResponseWriter> {
  const records = await bus.log.read(jobId);
  if (records.length === 0) throw unknownJob(jobId);
  const writer = new ResponseWriter(writtenOf({ jobId, model: request.model, view }));
  const { deltas, end, error } = answerSoFar(model.tokenizer, request, view, records);
  writer.opening();
  if (records.some(({ event }) => event.type === "claimed")) writer.begin();
  writer.add(deltas);
  if (end !== null) writer.finish(end);
  else if (error !== null) writer.fail(error);
  return writer;
}

/** Everything before the answer. */
export interface ItemsBefore {
  /** What earlier responses asked and said. */
  readonly earlier: readonly Item[];
  /** What the request adds, an item for each of its own. */
  readonly own: readonly Item[];
}

export async function conversationOf(deps: Deps, tenant: string, request: ResponsesRequest): Promise<ItemsBefore> {
  const earlier = request.previous_response_id === undefined ? [] : await continued(deps, tenant, request.previous_response_id);
  const { input } = request;
  const own: readonly Item[] =
    typeof input === "string" ? [{ type: "message", id: undefined, role: "user", content: input }] : await resolved(deps, tenant, input);
  return { earlier, own };
}

async function continued(deps: Deps, tenant: string, id: string): Promise<readonly Item[]> {
  const param = "previous_response_id";
  const found = await findResponse(deps.bus, id, tenant).catch((error) => {
    if (ServingError.from(error).code !== "NOT_FOUND") throw error;
    throw invalid(param, error.message, "previous_response_not_found");
  });
  const last = await deps.bus.log.last(found.jobId);
  if (last?.event.type !== "finished") throw invalid(param, `${id} is still running, or ended without completing`);
  const [input, writer] = await Promise.all([inputKept(deps.bus, found.jobId, found.response), writeSoFar(deps, found)]);
  return [...input, ...writer.output];
}

/**
 * Items of earlier responses may be named by their ids, which say whose they are: as often as they are named, and together as large as a body may be. A name
 * is short, and what it stands for is not.
 */
async function resolved(deps: Deps, tenant: string, items: readonly RequestItem[]): Promise<readonly Item[]> {
  const { bodyMaxBytes } = deps.config;
  const wanted = new Set(items.flatMap((item) => (item.type === "item_reference" ? [item.id] : [])));
  const known = new Map<string, Promise<ItemsById>>();
  const itemsOf: ItemsOf = (response, part) => {
    const place = `${response} ${part}`;
    const items =
      known.get(place) ??
      (known.size < REFERRED_MAX
        ? findResponse(deps.bus, response, tenant).then((found) => keptItems(deps, found, part, wanted))
        : Promise.reject(refusal(`input: refers to items of more than ${REFERRED_MAX} responses`, { param: "input" })));
    known.set(place, items);
    return items;
  };
  const all: Item[] = [];
  let bytes = 0;
  for (const [i, item] of items.entries()) {
    if (item.type !== "item_reference") {
      all.push(item);
      continue;
    }
    const found = await referred(item.id, `input[${i}].id`, itemsOf);
    bytes += found.bytes;
    if (bytes > bodyMaxBytes)
      throw new ServingError("TOO_LARGE", `input: the items it refers to exceed ${bodyMaxBytes} bytes together`, {
        param: "input",
      });
    all.push(found.item);
  }
  return all;
}

interface Referred {
  readonly item: Item;
  /** As JSON. */
  readonly bytes: number;
}
type ItemsById = ReadonlyMap<string, Referred>;
type Part = "input" | "output";
type ItemsOf = (response: string, part: Part) => Promise<ItemsById>;

/** Of what a response was asked, or said, the items that are wanted: what it was asked may be much more. */
async function keptItems(deps: Deps, found: FoundResponse, part: Part, wanted: ReadonlySet<string>): Promise<ItemsById> {
  const items =
    part === "output"
      ? (await writeSoFar(deps, found)).output
      : identified(await inputKept(deps.bus, found.jobId, found.response), found.jobId);
  return new Map(
    items.filter(({ id }) => wanted.has(id)).map((item) => [item.id, { item, bytes: Buffer.byteLength(JSON.stringify(item)) }]),
  );
}

async function referred(id: string, param: string, itemsOf: ItemsOf): Promise<Referred> {
  const place = responseOfItem(id);
  const unknown = () => invalid(param, `no item ${id.slice(0, 100)} is kept`);
  if (place === null) throw unknown();
  const items = await itemsOf(place.response, place.part).catch((error) => {
    throw ServingError.from(error).code === "NOT_FOUND" ? unknown() : error;
  });
  const found = items.get(id);
  if (found === undefined) throw unknown();
  return found;
}
