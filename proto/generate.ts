import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath, pathToFileURL } from "node:url";
import protobuf from "protobufjs";

/** Both files' texts in `gen/`: the parsed definitions as data, so that running services need neither the .proto files nor a parser. */
export const generated = {
  /** The cluster's own, with field names as the code has them. */
  job: () => written("job", protobuf.parse(readFileSync(pathOf("longshore/v1/job.proto"), "utf8")).root),
  /** The public API and what it imports, with field names as its clients know them. */
  jobs: () => {
    const root = new protobuf.Root();
    root.resolvePath = (_, target) => (target.startsWith("/") ? target : pathOf(target));
    return written("jobs", root.loadSync(pathOf("longshore/v1/jobs.proto"), { keepCase: true }));
  },
} as const;

const pathOf = (file: string): string => fileURLToPath(new URL(file, import.meta.url));

const written = (name: string, root: protobuf.Root): string =>
  `// Made from ../longshore/v1/${name}.proto by ../generate.ts. Do not edit.\nexport default ${JSON.stringify(root.toJSON(), null, 2)};\n`;

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href)
  for (const [name, text] of Object.entries(generated)) writeFileSync(new URL(`gen/${name}.ts`, import.meta.url), text());
