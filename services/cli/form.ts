import { systemRandom } from "../shared/runtime/random.ts";

/** A file as it is sent: of its content only what is on its way is in memory. */
export interface FormFile {
  readonly name: string;
  /** How much `content` yields, unless it throws. */
  readonly bytes: number;
  readonly content: AsyncIterable<Uint8Array>;
}

interface Form {
  readonly headers: Readonly<Record<string, string>>;
  readonly body: AsyncIterable<Uint8Array>;
}

/**
 * Fields and the file "file" as multipart/form-data (RFC 7578), for `fetch`, whose own FormData is not for a file that may fail: Node 24 reads it
 * as fast as it can, and where it cannot, that is an unhandled rejection, which ends the process.
 */
export function formOf(fields: Readonly<Record<string, string>>, { name, bytes, content }: FormFile): Form {
  const boundary = systemRandom.id("longshore-");
  const part = (field: string, more = "") => `--${boundary}\r\ncontent-disposition: form-data; name="${field}"${more}\r\n\r\n`;
  const begin = Buffer.from(
    Object.entries(fields)
      .map(([field, value]) => `${part(field)}${value}\r\n`)
      .join("") + part("file", `; filename="${escaped(name)}"\r\ncontent-type: application/octet-stream`),
  );
  const end = Buffer.from(`\r\n--${boundary}--\r\n`);
  const body = async function* () {
    yield begin;
    for await (const chunk of content) if (chunk.length > 0) yield chunk; // `fetch` asks for no more behind an empty one
    yield end;
  };
  const headers = {
    "content-type": `multipart/form-data; boundary=${boundary}`,
    "content-length": String(begin.length + bytes + end.length),
  };
  return { headers, body: body() };
}

/** As browsers write a name (WHATWG HTML, 4.10.21.8). */
const escaped = (name: string): string => name.replace(/[\n\r"]/g, encodeURIComponent);
