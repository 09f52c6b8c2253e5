import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { ServingError } from "../../runtime/errors.ts";
import { isFields } from "../../runtime/json.ts";
import { readJson } from "./json-files.ts";
import type { Located } from "./matching.ts";
import { readShard, type Shard } from "./safetensors.ts";

export interface ShardSet {
  readonly shards: readonly Shard[];
  readonly tensors: ReadonlyMap<string, Located>;
}

const INDEX = "model.safetensors.index.json";
const SINGLE = "model.safetensors";

/** Reads the header of every shard. Problems with files and their index go to `problems`. */
export function readShards(dir: string, problems: string[]): ShardSet {
  const index = existsSync(join(dir, INDEX)) ? readIndex(dir) : null;
  const names = index === null ? shardNames(dir) : [...new Set(index.values())].sort();
  const shards: Shard[] = [];
  const unread = new Set<string>();
  for (const name of names) {
    try {
      shards.push(readShard(join(dir, name)));
    } catch (error) {
      problems.push(ServingError.from(error).message);
      unread.add(name);
    }
  }
  const tensors = locate(shards, dir, problems);
  for (const [name, file] of index ?? []) {
    const found = tensors.get(name);
    if (!unread.has(file) && (found === undefined || join(dir, file) !== shards[found.shard]!.path))
      problems.push(`${INDEX} places tensor ${name} in ${file}, which does not hold it`);
  }
  return { shards, tensors };
}

function readIndex(dir: string): ReadonlyMap<string, string> {
  const json = readJson(join(dir, INDEX));
  const map = isFields(json) ? json.weight_map : undefined;
  if (!isFields(map) || !Object.values(map).every((file) => typeof file === "string" && /^[^/\\]+\.safetensors$/.test(file)))
    throw new ServingError("BAD_CHECKPOINT", `${INDEX}: weight_map must name a .safetensors file of the same folder for each tensor`);
  return new Map(Object.entries(map as Record<string, string>));
}

/** Without an index: one file, or a complete set of numbered ones. */
function shardNames(dir: string): readonly string[] {
  const files = readdirSync(dir);
  if (files.includes(SINGLE)) return [SINGLE];
  const numbered = files.filter((file) => /^model-\d+-of-\d+\.safetensors$/.test(file)).sort();
  const count = Number(numbered[0]?.match(/-of-(\d+)\./)?.[1] ?? 0);
  if (count > 0 && numbered.length === count) return numbered;
  const found = count === 0 ? `neither ${INDEX} nor ${SINGLE}` : `${numbered.length} of ${count} shards and no ${INDEX}`;
  throw new ServingError("BAD_CHECKPOINT", `${dir} holds ${found}: download the model again`);
}

function locate(shards: readonly Shard[], dir: string, problems: string[]): ReadonlyMap<string, Located> {
  const tensors = new Map<string, Located>();
  for (const [shard, { tensors: stored, path }] of shards.entries()) {
    for (const tensor of stored) {
      const other = tensors.get(tensor.name);
      if (other === undefined) tensors.set(tensor.name, { ...tensor, shard });
      else problems.push(`tensor ${tensor.name} is in ${fileOf(shards[other.shard]!.path, dir)} and in ${fileOf(path, dir)}`);
    }
  }
  return tensors;
}

const fileOf = (path: string, dir: string) => path.slice(join(dir, "/").length);
