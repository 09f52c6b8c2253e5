import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { expect, test } from "vitest";

/** Which folder of services/ may import which. A folder may always import itself. */
const arrows: Record<string, readonly string[]> = {
  "shared/runtime": [],
  "shared/bus": ["shared/runtime"],
  "shared/batches": ["shared/runtime", "shared/bus"],
  "shared/segments": ["shared/runtime"],
  "shared/engine": ["shared/runtime"],
  "shared/worker": ["shared/runtime", "shared/bus", "shared/segments", "shared/engine"],
  prefill: ["shared/worker", "shared/runtime", "shared/bus", "shared/segments", "shared/engine"],
  decode: ["shared/worker", "shared/runtime", "shared/bus", "shared/segments", "shared/engine"],
  // A line of a batch is a request of the API: the coordinator makes jobs of lines and bodies of answers with the same functions.
  batch: ["api", "shared/batches", "shared/runtime", "shared/bus", "shared/segments", "shared/engine"],
  api: ["shared/batches", "shared/runtime", "shared/bus", "shared/segments", "shared/engine"],
  cli: ["api", "prefill", "decode", "batch", "shared/worker", "shared/runtime", "shared/bus", "shared/segments", "shared/engine"],
};

/** Each outside world has one door. */
const doors: ReadonlyArray<{ readonly what: string; readonly pattern: RegExp; readonly where: RegExp }> = [
  { what: "NATS", pattern: /from "nats"/, where: /^shared\/bus\/nats\// },
  { what: "Redis", pattern: /from "ioredis"/, where: /^shared\/segments\// },
  { what: "protobuf", pattern: /from "protobufjs/, where: /^shared\/bus\// },
  { what: "gRPC", pattern: /from "(@grpc\/|grpc-)/, where: /^api\/grpc\// },
  { what: "native code", pattern: /createRequire|process\.dlopen/, where: /^shared\/engine\/kernels\// },
  { what: "the tokenizer library", pattern: /from "tokenizers"/, where: /^shared\/engine\/tokenizer/ },
  { what: "the environment", pattern: /process\.env/, where: /^shared\/runtime\/config\.ts$/ },
  { what: "randomness", pattern: /Math\.random|randomBytes|randomUUID/, where: /^shared\/runtime\/random\.ts$/ },
];

const files = readdirSync("services", { recursive: true, encoding: "utf8" }).filter((file) => file.endsWith(".ts"));
const sources = new Map(files.map((file) => [file, readFileSync(join("services", file), "utf8")]));

const folderOf = (file: string): string | undefined => Object.keys(arrows).find((folder) => file.startsWith(`${folder}/`));

test("every source lies in a folder of the layout", () => {
  expect(files.filter((file) => folderOf(file) === undefined)).toEqual([]);
});

test("imports point one way", () => {
  const wrong: string[] = [];
  for (const [file, source] of sources) {
    for (const [, target] of source.matchAll(/(?:from|import)\s*\(?"(\.[^"]+)"/g)) {
      const path = normalize(join(dirname(file), target!));
      if (path.startsWith("..")) {
        if (!/^\.\.\/proto\//.test(path)) wrong.push(`${file} -> ${path}`);
        continue;
      }
      const from = folderOf(file);
      const to = folderOf(path);
      if (to === undefined || (from !== to && !arrows[from!]!.includes(to))) wrong.push(`${file} -> ${path}`);
    }
  }
  expect(wrong).toEqual([]);
});

test.each(doors)("one door to $what", ({ pattern, where }) => {
  expect([...sources].filter(([file, source]) => pattern.test(source) && !where.test(file)).map(([file]) => file)).toEqual([]);
});
