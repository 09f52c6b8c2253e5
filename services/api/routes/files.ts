import { Readable } from "node:stream";
import multipart, { type MultipartFile } from "@fastify/multipart";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { z } from "zod";
import { deleteParts, deleteStored, FILE_LIFE_SECONDS, type Part, type StoredFile, saveFile, sizeOf } from "../../shared/batches/file.ts";
import type { Bus } from "../../shared/bus/contract.ts";
import { refusal, ServingError } from "../../shared/runtime/errors.ts";
import type { Random } from "../../shared/runtime/random.ts";
import { callerOf, tenantOf } from "../auth.ts";
import type { ApiDeps } from "../deps.ts";
import { invalid } from "../errors.ts";
import { contentOf, fileObject, filesOf, findFile, requireUnused, storeParts, uploadRequest } from "../files/files.ts";
import { requireRoom } from "../files/tenant-room.ts";
import { counted, UPLOAD_BYTES } from "../http/body.ts";
import type { Share } from "../http/body-room.ts";
import { byAge, pageOf, pageQuery } from "../http/page.ts";
import { optional, parseBody } from "../requests.ts";

type FileParams = { Params: { id: string } };

export const FILE_BYTES_MAX = 200_000_000;
const FILENAME_CHARACTERS_MAX = 255;
const FIELDS_MAX = 8;

const fileQuery = z.object({ purpose: optional(z.string()), ...pageQuery({ max: 10_000, fallback: 10_000 }).shape });

/** OpenAI's files, as batches need them. */
export function fileRoutes(app: FastifyInstance, deps: ApiDeps): void {
  const { bus } = deps;
  const find = (request: FastifyRequest<FileParams>) => findFile(bus, tenantOf(request), request.params.id);

  void app.register(async (scope) => {
    await scope.register(multipart, {
      throwFileSizeLimit: false,
      limits: {
        fileSize: FILE_BYTES_MAX,
        files: 1,
        fields: FIELDS_MAX,
        parts: FIELDS_MAX + 1,
        fieldSize: 1_000,
        fieldNameSize: 100,
        headerPairs: 20,
      },
    });
    scope.post("/v1/files", async (request) => fileObject(await receive(deps, request)));
  });

  app.get("/v1/files", async (request) => {
    const query = parseBody(fileQuery, request.query);
    const files = (await filesOf(bus, tenantOf(request))).filter(({ purpose }) => (query.purpose ?? purpose) === purpose);
    return pageOf(byAge(files), query);
  });

  app.get<FileParams>("/v1/files/:id", async (request) => fileObject(await find(request)));

  app.get<FileParams>("/v1/files/:id/content", async (request, reply) => {
    const file = await find(request);
    const name = file.filename.replace(/[^\x20-\x7e]|["\\]/g, "_");
    reply.header("content-type", "application/octet-stream").header("content-length", file.bytes);
    reply.header("content-disposition", `attachment; filename="${name}"`);
    return reply.send(Readable.from(request.method === "HEAD" ? [] : contentOf(bus, file)));
  });

  app.delete<FileParams>("/v1/files/:id", async (request) => {
    const tenant = tenantOf(request);
    const file = await find(request);
    await requireUnused(bus, tenant, file);
    await deleteStored(bus, tenant, file);
    return { id: file.id, object: "file", deleted: true };
  });
}

/** Stores the file while it arrives; its fields may come before or behind it. Whether an answer was lost or not, parts that a document may name stay. */
async function receive({ bus, random }: ApiDeps, request: FastifyRequest): Promise<StoredFile> {
  const tenant = tenantOf(request);
  await requireRoom(bus, callerOf(request), "file");
  const { filename, parts, lifeSeconds } = await receiveParts(bus, random, request);
  const createdAt = Math.floor((await bus.log.nowMs()) / 1_000);
  const id = random.id("file-");
  const file: StoredFile = { id, filename, purpose: "batch", bytes: sizeOf(parts), createdAt, expiresAt: createdAt + lifeSeconds, parts };
  await saveFile(bus, tenant, file);
  return file;
}

/** Nothing stays of what is refused. */
async function receiveParts(bus: Bus, random: Random, request: FastifyRequest) {
  const fields: Record<string, unknown> = {};
  let received: { readonly filename: string; readonly parts: Part[] } | null = null;
  try {
    for await (const part of request.parts()) {
      if (part.type === "field") fields[part.fieldname] = part.value;
      else if (part.fieldname === "file") received = await receiveFile(bus, random, part, request.bodyShare!);
      else part.file.resume(); // like any unknown field: read, and dropped
    }
    const { "expires_after[seconds]": lifeSeconds = FILE_LIFE_SECONDS } = parseBody(uploadRequest, fields);
    if (received === null) throw invalid("file", "send a file", "missing_required_parameter");
    await requireRoom(bus, callerOf(request), "file", sizeOf(received.parts)); // others may have arrived meanwhile
    return { ...received, lifeSeconds };
  } catch (error) {
    await deleteParts(bus, received?.parts ?? []);
    request.raw.unpipe().resume(); // a client reads the answer once all it sends was taken
    throw fromParser(error);
  }
}

/** What the parser objects to, in our words; of no boundary, or an end that does not come, it has none but these. */
function fromParser(thrown: unknown): unknown {
  if (!(thrown instanceof Error) || thrown instanceof ServingError) return thrown;
  const { code = "", statusCode } = thrown as { code?: string; statusCode?: number };
  const malformed = (message: string) => refusal(message, { apiCode: "invalid_request", cause: thrown });
  if (/^FST_(FILES|PARTS|FIELDS)_LIMIT$/.test(code)) return malformed(`an upload has one file and at most ${FIELDS_MAX} other fields`);
  return statusCode === undefined && /multipart/i.test(thrown.message) ? malformed(thrown.message) : thrown;
}

async function receiveFile(
  bus: Bus,
  random: Random,
  { file, filename }: Pick<MultipartFile, "file"> & { readonly filename?: string },
  share: Share,
) {
  const parts = await storeParts(bus, random, counted(file, share, UPLOAD_BYTES));
  if (!file.truncated) return { filename: (filename ?? "file").slice(0, FILENAME_CHARACTERS_MAX), parts };
  await deleteParts(bus, parts);
  throw new ServingError("TOO_LARGE", `file: a batch file may have at most ${FILE_BYTES_MAX} bytes; split it`, {
    param: "file",
    apiCode: "file_too_large",
  });
}
