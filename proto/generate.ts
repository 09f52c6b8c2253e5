import { readFileSync, writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import protobuf from "protobufjs";

/** The text of `gen/job.ts`: the parsed definitions as data, so that running services need neither the .proto files nor a parser. */
export function generate(): string {
  const { root } = protobuf.parse(readFileSync(new URL("longshore/v1/job.proto", import.meta.url), "utf8"));
  return `// Made from ../longshore/v1/job.proto by ../generate.ts. Do not edit.\nexport default ${JSON.stringify(root.toJSON(), null, 2)};\n`;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) writeFileSync(new URL("gen/job.ts", import.meta.url), generate());
