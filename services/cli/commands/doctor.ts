import { spawnSync } from "node:child_process";
import { availableParallelism, totalmem } from "node:os";
import { resolve } from "node:path";
import { isOlder } from "../../shared/bus/storage.ts";
import { warningText } from "../../shared/engine/checkpoint/warnings.ts";
import { listPaths } from "../../shared/engine/kernels.ts";
import { type Config, environment } from "../../shared/runtime/config.ts";
import { bytes } from "../../shared/runtime/units.ts";
import { withServers } from "../cluster/servers-path.ts";
import { cache } from "../doctor/cache.ts";
import type { Finding } from "../doctor/finding.ts";
import { record } from "../doctor/record.ts";
import { openFolder } from "../inspect.ts";

/** Says what this machine has and what it lacks, and whether the servers it is told of do their part. Resolves to false if something needed is missing. */
export async function doctor(config: Config): Promise<boolean> {
  const told = await Promise.all([record(config), cache(config), model(config)]);
  const findings = [machine(), ...kernelPaths(), ascend(), ...servers(), ...told.flat()];
  const marks = { yes: "ok", no: "--", note: "!!" };
  for (const { what, state, text } of findings) console.log(`${marks[state]}  ${what.padEnd(24)} ${text}`);
  const missing = findings.filter(({ needed, state }) => needed === true && state === "no");
  console.log(
    missing.length === 0 ? "\nThis machine can serve." : `\nMissing: ${[...new Set(missing.map(({ what }) => what))].join(", ")}`,
  );
  return missing.length === 0;
}

const machine = (): Finding => ({
  what: "machine",
  state: "yes",
  text: `${availableParallelism()} cores, ${bytes(totalmem())}, Node ${process.versions.node}, ${process.platform} ${process.arch}`,
});

function kernelPaths(): Finding[] {
  try {
    return listPaths().map(({ name, available, reason }) => ({
      what: `kernel path ${name}`,
      state: available ? "yes" : "no",
      text: available ? "runs here" : reason,
    }));
  } catch (error) {
    return [{ what: "kernels", state: "no", text: (error as Error).message, needed: true }];
  }
}

const ascend = (): Finding => ({ what: "backend ascend", state: "no", text: "not part of this version" });

/** Needed for the local cluster and the tests; the embedded cluster runs without. */
function servers(): Finding[] {
  return [
    { what: "nats-server", pattern: /v(\d+\.\d+\.\d+)/, floor: "2.9.10" },
    { what: "redis-server", pattern: /v=(\d+\.\d+\.\d+)/, floor: "6.2.0" },
  ].map(({ what, pattern, floor }) => {
    const { stdout, stderr, error } = spawnSync(what, ["--version"], {
      env: withServers(environment),
      encoding: "utf8",
      timeout: 5_000,
    });
    if (error !== undefined)
      return { what, state: "no", text: "not found; needed for `longshore up --cluster` only: sh deploy/setup.sh test" };
    const version = pattern.exec(stdout + stderr)?.[1] ?? "unknown version";
    const old = isOlder(version, floor);
    return { what, state: old ? "note" : "yes", text: old ? `${version}; ${floor} or newer is needed` : version };
  });
}

async function model(config: Config): Promise<Finding[]> {
  const folder = resolve(config.modelPath);
  try {
    const { stored, mapped, warnings } = await openFolder(folder);
    const held: Finding = {
      what: "model",
      state: "yes",
      text: `${folder}: ${stored.tensors} tensors, ${bytes(mapped.bytes)} mapped`,
      needed: true,
    };
    return [held, ...warnings.map((warning): Finding => ({ what: "model", state: "note", text: warningText(warning) }))];
  } catch (error) {
    return [{ what: "model", state: "no", text: (error as Error).message, needed: true }];
  }
}
