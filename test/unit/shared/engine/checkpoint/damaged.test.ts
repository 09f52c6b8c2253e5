import { readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { expect, test } from "vitest";
import { openCheckpoint } from "../../../../../services/shared/engine/checkpoint/open.ts";
import { readShard } from "../../../../../services/shared/engine/checkpoint/safetensors.ts";
import { liveHandles } from "../../../../../services/shared/engine/kernels.ts";
import { placeModel } from "../../../../../services/shared/engine/model.ts";
import { ServingError } from "../../../../../services/shared/runtime/errors.ts";
import {
  editHeader,
  type Header,
  headerOf,
  inFolder,
  releasedConfig,
  rewriteHeader,
  writeSparse,
  writeSynthetic,
} from "../../../../support/synthetic.ts";

const yardlog = releasedConfig("yardlog/config.json");
const FIRST = "model-00001-of-00002.safetensors";
const SECOND = "model-00002-of-00002.safetensors";
const INDEX = "model.safetensors.index.json";

/** Opens yardlog's checkpoint in two shards after `damage`, and returns what it says. */
function messageAfter(damage: (dir: string) => void): string {
  return inFolder((dir) => {
    writeSynthetic(dir, yardlog, 2);
    damage(dir);
    try {
      openCheckpoint(dir);
    } catch (error) {
      expect(error).toMatchObject({ code: "BAD_CHECKPOINT" });
      return (error as ServingError).message.replaceAll(dir, "DIR");
    }
    throw new Error("it was opened");
  });
}

const edited = (shard: string, edit: (header: Header) => void) => messageAfter((dir) => editHeader(join(dir, shard), edit));

const editJson = (path: string, edit: (json: Record<string, Record<string, unknown>>) => void) => {
  const json = JSON.parse(readFileSync(path, "utf8"));
  edit(json);
  writeFileSync(path, JSON.stringify(json));
};

test("a file that was cut off is named with the tensor that reaches beyond it", () => {
  const message = messageAfter((dir) => truncateSync(join(dir, FIRST), 1_000_000));
  expect(message).toMatch(
    /model-00001-of-00002.safetensors: ends at byte 1000000, but tensor layers\.\S+ reaches to \d+: the file is cut off/,
  );
});

test("a file that was cut off after its header was read is not mapped", () =>
  inFolder((dir) => {
    writeSynthetic(dir, yardlog, 2);
    const checkpoint = openCheckpoint(dir);
    const before = liveHandles();
    truncateSync(join(dir, SECOND), 1_000_000);
    expect(() => placeModel(checkpoint, { mode: "serving", segmentTokens: 512 })).toThrow(
      /model-00002-of-00002.safetensors: had \d+ bytes when its header was read and has 1000000 now/,
    );
    expect(liveHandles()).toBe(before);
  }));

test("every damaged shard is told, not only the first", () => {
  const message = messageAfter((dir) => {
    truncateSync(join(dir, FIRST), 1_000_000);
    truncateSync(join(dir, SECOND), 5);
  });
  expect(message).toContain("2 problems");
  expect(message).toContain(`${FIRST}: ends at byte 1000000`);
  expect(message).toContain(`${SECOND}: 5 bytes long, too short for a safetensors file`);
});

test("a header that was cut off", () => {
  expect(messageAfter((dir) => truncateSync(join(dir, FIRST), 1_000))).toMatch(/its header claims \d+ bytes, but the file has 1000 and/);
});

test("an absurd header length", () => {
  const message = messageAfter((dir) => writeFileSync(join(dir, FIRST), Buffer.alloc(64, 0xff)));
  expect(message).toContain("its header claims 18446744073709551615 bytes, but the file has 64");
});

test("a Git LFS pointer in place of the weights", () => {
  const message = messageAfter((dir) =>
    writeFileSync(join(dir, FIRST), "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"),
  );
  expect(message).toContain("run `git lfs pull`");
});

test("a header that is not JSON", () => {
  expect(messageAfter((dir) => rewriteHeader(join(dir, FIRST), () => "{ not json"))).toContain(`${FIRST}: its header is not JSON`);
});

test("offsets beyond the file", () => {
  const message = edited(FIRST, (header) => {
    header["norm.weight"]!.data_offsets = [1e12, 1e12 + 512];
  });
  expect(message).toMatch(/ends at byte \d+, but tensor norm\.weight reaches to 10000\d{8}: the file is cut off/);
});

test("offsets that do not fit dtype and shape", () => {
  const message = edited(FIRST, (header) => {
    header["embed.weight"]!.data_offsets[1] -= 2;
  });
  expect(message).toContain("tensor embed.weight: data_offsets 0..1048574 hold 1048574 bytes, but BF16 [2048,256] needs 1048576");
});

test("tensors that overlap", () => {
  const message = edited(FIRST, (header) => {
    const { data_offsets: span } = header["head.weight"]!;
    header["head.weight"]!.data_offsets = [span[0] - 8, span[1] - 8];
  });
  expect(message).toMatch(/tensors embed\.weight and head\.weight overlap: one ends at byte \d+, the other begins at \d+/);
});

test.each([
  ["dtype", "Q4", 'tensor embed.weight: dtype "Q4" is unknown'],
  ["shape", [2048, -1], "tensor embed.weight: shape [2048,-1] is not a list of sizes"],
  ["data_offsets", [0], "tensor embed.weight: data_offsets [0] is not a pair of byte positions"],
])("a description with a wrong %s", (key, value, expected) => {
  const message = edited(FIRST, (header) => {
    Object.assign(header["embed.weight"]!, { [key]: value });
  });
  expect(message).toContain(expected);
});

test("a tensor described twice in one header", () => {
  const again = '"head.weight":{"dtype":"BF16","shape":[0],"data_offsets":[0,0]}';
  const message = messageAfter((dir) => rewriteHeader(join(dir, FIRST), (text) => `${text.slice(0, -1)},${again}}`));
  expect(message).toContain(`${FIRST}: tensor head.weight is described twice`);
});

test("a tensor in two shards", () => {
  const message = edited(SECOND, (header) => {
    header["embed.weight"] = { dtype: "BF16", shape: [0], data_offsets: [0, 0] };
  });
  expect(message).toContain(`tensor embed.weight is in ${FIRST} and in ${SECOND}`);
});

test("an index that names a shard that is not there", () => {
  expect(messageAfter((dir) => rmSync(join(dir, SECOND)))).toContain(`${SECOND}: ENOENT`);
});

test("an index that disagrees with the headers", () => {
  const message = messageAfter((dir) =>
    editJson(join(dir, INDEX), (json) => Object.assign(json.weight_map!, { "norm.weight": SECOND, "no.such": FIRST })),
  );
  expect(message).toContain(`${INDEX} places tensor norm.weight in ${SECOND}, which does not hold it`);
  expect(message).toContain(`${INDEX} places tensor no.such in ${FIRST}, which does not hold it`);
});

test("an index that leads out of the folder", () => {
  const message = messageAfter((dir) =>
    editJson(join(dir, INDEX), (json) => Object.assign(json.weight_map!, { "norm.weight": "../other.safetensors" })),
  );
  expect(message).toContain("must name a .safetensors file of the same folder");
});

const remove = (dir: string, ...files: string[]): void => {
  for (const file of files) rmSync(join(dir, file));
};

test("no weights at all, and shards without the others", () => {
  expect(messageAfter((dir) => remove(dir, FIRST, SECOND, INDEX))).toContain("holds neither");
  expect(messageAfter((dir) => remove(dir, FIRST, INDEX))).toContain("holds 1 of 2 shards and no model.safetensors.index.json");
});

test("a config that contradicts the weights: the first twenty tensors and how many more", () => {
  const message = messageAfter((dir) => editJson(join(dir, "config.json"), (json) => Object.assign(json, { hidden_size: 512 })));
  expect(message).toContain("embed.weight: BF16 [2048,256], expected BF16 or F32 [2048,512]");
  expect(message.split("\n").filter((line) => line.includes("expected"))).toHaveLength(20);
  expect(message).toMatch(/and \d+ more$/);
});

test("quantised weights under a config without quantization_config", () => {
  const message = messageAfter((dir) => editJson(join(dir, "config.json"), (json) => delete json.quantization_config));
  expect(message).toContain("config.json has no quantization_config, but layers.0.attn.wkv.weight is F8_E4M3");
});

test("missing tensors are listed", () => {
  const message = messageAfter((dir) => {
    editHeader(join(dir, SECOND), (header) => {
      delete header["layers.3.attn.wkv.scale"];
    });
    editJson(join(dir, INDEX), ({ weight_map: map }) => delete map!["layers.3.attn.wkv.scale"]);
  });
  expect(message).toBe("DIR cannot be served, 1 problem:\n  layers.3.attn.wkv.scale: missing");
});

test("the names of transformers are recognised", () => {
  const message = inFolder((dir) => {
    writeFileSync(join(dir, "config.json"), JSON.stringify(yardlog));
    const items = [{ name: "model.embed_tokens.weight", dtype: "BF16", shape: [2048, 256], bytes: 1_048_576 }] as const;
    const { header, dataBytes } = headerOf(items);
    writeSparse(join(dir, "model.safetensors"), JSON.stringify(header), dataBytes);
    return thrownBy(() => openCheckpoint(dir)).message;
  });
  expect(message).toContain("the tensors carry the names of transformers");
});

test("superfluous tensors are a warning, not an error", () => {
  inFolder((dir) => {
    writeSynthetic(dir, yardlog, 1);
    editHeader(join(dir, "model.safetensors"), (header) => {
      header["rotary.inv_freq"] = { dtype: "F32", shape: [0], data_offsets: [0, 0] };
    });
    const { warnings, stored, mapped } = openCheckpoint(dir, { bytes: 1e9, limitedBy: "machine" });
    expect(warnings).toEqual([{ kind: "unused", tensors: ["rotary.inv_freq"] }]);
    expect(stored.tensors).toBe(mapped.tensors + 1);
  });
});

test("numbered shards without an index are one checkpoint; an MTP block may be absent as a whole, not in part", () => {
  inFolder((dir) => {
    const whole = { ...yardlog, compress_ratios: [0, 0, 4, 128, 0], num_nextn_predict_layers: 1 };
    writeSynthetic(dir, whole, 2);
    rmSync(join(dir, INDEX));
    expect(openCheckpoint(dir).weights.mtp).not.toBeNull();
    editHeader(join(dir, SECOND), (header) => delete header["mtp.0.enorm.weight"]);
    expect(thrownBy(() => openCheckpoint(dir)).message).toContain("mtp.0.enorm.weight: missing");
    editHeader(join(dir, SECOND), (header) => {
      for (const name of Object.keys(header)) if (name.startsWith("mtp.")) delete header[name];
    });
    const { weights, warnings } = openCheckpoint(dir, { bytes: 1e9, limitedBy: "machine" });
    expect(weights.mtp).toBeNull();
    expect(warnings).toEqual([{ kind: "mtp-absent" }]);
  });
});

test("whatever bytes a header has, reading it ends in a shard or in BAD_CHECKPOINT", () => {
  inFolder((dir) => {
    writeSynthetic(dir, yardlog, 1);
    const path = join(dir, "model.safetensors");
    const whole = readFileSync(path);
    const headerEnd = 8 + Number(whole.readBigUInt64LE());
    const flips = fc.array(fc.tuple(fc.nat(headerEnd - 1), fc.nat(255)), { minLength: 1, maxLength: 3 });
    fc.assert(
      fc.property(flips, fc.integer({ min: 0, max: 5_000 }), (changes, cut) => {
        const bytes = Buffer.from(whole.subarray(0, headerEnd + cut));
        for (const [at, value] of changes) bytes[at] = value;
        writeFileSync(path, bytes);
        const thrown = caught(() => readShard(path));
        if (thrown !== null) expect(thrown).toMatchObject({ name: "ServingError", code: "BAD_CHECKPOINT" });
      }),
      { numRuns: 200 },
    );
  });
});

const caught = (call: () => unknown): unknown => {
  try {
    call();
    return null;
  } catch (error) {
    return error;
  }
};

const thrownBy = (call: () => unknown): ServingError => {
  const thrown = caught(call);
  if (thrown instanceof ServingError) return thrown;
  throw new Error(`expected a ServingError, got ${thrown}`);
};
