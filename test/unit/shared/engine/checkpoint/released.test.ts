import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { parseModelConfig } from "../../../../../services/shared/engine/checkpoint/config.ts";
import { fingerprint } from "../../../../../services/shared/engine/checkpoint/fingerprint.ts";
import { inventory, totals } from "../../../../../services/shared/engine/checkpoint/inventory.ts";
import { openCheckpoint } from "../../../../../services/shared/engine/checkpoint/open.ts";
import { inFolder, releasedConfig, writeSynthetic } from "../../../../support/synthetic.ts";

/** Totals as published (spec 4); the dtypes of 0731 and the bytes of its Base are not. */
const published = [
  {
    name: "v4-flash",
    shards: 46,
    tensors: 69_187,
    bytes: 159_609_485_896,
    byDtype: { BF16: 433, F32: 417, F8_E4M3: 375, F8_E8M0: 34_167, I64: 3, I8: 33_792 },
    base: 292_502_338_120,
  },
  { name: "v4-flash-0731", shards: 48, tensors: 72_317, bytes: 166_878_536_440, byDtype: null, base: null },
  {
    name: "v4-pro",
    shards: 64,
    tensors: 145_116,
    bytes: 864_704_792_696,
    byDtype: { BF16: 619, F32: 590, F8_E4M3: 528, F8_E8M0: 71_952, I64: 3, I8: 71_424 },
    base: 1_602_033_600_632,
  },
];

const drafting = {
  "v4-flash": { tensors: 1_575, bytes: 3_593_787_756 },
  "v4-flash-0731": { tensors: 4_705, bytes: 10_862_838_300 },
} as const;

test.each(published)("the inventory of $name is the published one, to the byte", ({ name, tensors, bytes, byDtype, base }) => {
  const config = parseModelConfig(releasedConfig(`configs/${name}.json`));
  const items = inventory(config);
  expect(totals(items)).toMatchObject({ tensors, bytes });
  if (byDtype !== null) expect(totals(items).byDtype).toEqual(byDtype);
  if (base !== null) expect(totals(inventory(config, "fp8"))).toMatchObject({ tensors, bytes: base });
  if (name in drafting)
    expect(totals(items.filter((item) => item.name.startsWith("mtp.")))).toMatchObject(drafting[name as keyof typeof drafting]);
});

/** What others take of the machine, or how long it stands still, is not in it. */
const processorSeconds = (): number => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
};

test.each(published)("$name with $shards shards is opened in seconds", ({ name, shards, tensors, bytes }) => {
  inFolder((dir) => {
    writeSynthetic(dir, releasedConfig(`configs/${name}.json`), shards);
    const onDisk = readdirSync(dir).reduce((sum, file) => sum + statSync(join(dir, file)).blocks * 512, 0);
    expect(onDisk, "sparse files take no room").toBeLessThan(100e6);

    const started = processorSeconds();
    const checkpoint = openCheckpoint(dir, { bytes: 64e9, limitedBy: "machine" });
    const opened = processorSeconds();
    const mark = fingerprint(checkpoint);
    const marked = processorSeconds();
    console.log(`${name}: opened in ${(opened - started).toFixed(1)} s of a processor, fingerprint in ${(marked - opened).toFixed(1)} s`);

    expect(checkpoint.shards).toHaveLength(shards);
    expect(checkpoint.stored).toMatchObject({ tensors, bytes });
    expect(mark).toHaveLength(32);
    expect(opened - started).toBeLessThan(30);
    expect(marked - opened).toBeLessThan(30);

    const dspark = drafting["v4-flash-0731"];
    const neededBytes = name === "v4-flash-0731" ? bytes - dspark.bytes : bytes;
    expect(checkpoint.mapped.bytes).toBe(neededBytes);
    expect(checkpoint.warnings).toContainEqual({ kind: "memory", neededBytes, present: { bytes: 64e9, limitedBy: "machine" } });
    expect(checkpoint.warnings.map(({ kind }) => kind)).toEqual(name === "v4-flash-0731" ? ["memory", "dspark"] : ["memory"]);
    if (name === "v4-flash-0731") expect(checkpoint.warnings[1]).toMatchObject({ held: dspark });
  });
});
