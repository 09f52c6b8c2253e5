import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { cgroupLimits } from "../../../../services/shared/runtime/cgroup.ts";
import { coresPresent, memoryPresent } from "../../../../services/shared/runtime/present.ts";

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "cgroup-"));
});
afterEach(() => rmSync(root, { recursive: true }));

/** A machine as this process would see it: its group, what is mounted, and the files of groups. */
function machine(groups: readonly string[], mounts: readonly string[], files: Readonly<Record<string, string | number>>) {
  const all = { "proc/self/cgroup": groups.join("\n"), "proc/self/mountinfo": mounts.join("\n"), ...files };
  for (const [path, content] of Object.entries(all)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), `${content}\n`);
  }
  return cgroupLimits(root);
}

const V1 = "sys/fs/cgroup";
const NO_LIMIT_V1 = "9223372036854771712";
const mountV1 = (controllers: string, of: string) =>
  `196 192 0:31 ${of} /sys/fs/cgroup/${controllers} ro,nosuid,nodev,noexec,relatime - cgroup cgroup rw,${controllers}`;
const mountV2 = (of = "/") => `30 23 0:26 ${of} /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate`;

test("version 1, Docker: the container's own group is mounted as the root of what it sees", () => {
  const group = "/docker/1a1fac8b";
  const limits = machine(
    [`4:memory:${group}`, `3:cpuset:${group}`, `1:cpu:${group}`, `0::${group}`],
    [mountV1("cpu", group), mountV1("memory", group)],
    {
      [`${V1}/memory/memory.limit_in_bytes`]: 536870912,
      [`${V1}/cpu/cpu.cfs_quota_us`]: 150000,
      [`${V1}/cpu/cpu.cfs_period_us`]: 100000,
    },
  );
  expect(limits).toEqual({ memoryBytes: 536870912, cores: 1.5 });
});

test("version 1 in a namespace of its own, controllers mounted together, no limit on cores", () => {
  const limits = machine(["4:memory:/", "2:cpu,cpuacct:/"], [mountV1("cpu,cpuacct", "/"), mountV1("memory", "/")], {
    [`${V1}/memory/memory.limit_in_bytes`]: 1e9,
    [`${V1}/cpu,cpuacct/cpu.cfs_quota_us`]: -1,
    [`${V1}/cpu,cpuacct/cpu.cfs_period_us`]: 100000,
  });
  expect(limits).toEqual({ memoryBytes: 1e9, cores: null });
});

test("version 1: no limit is no number of bytes", () => {
  const limits = machine(["4:memory:/"], [mountV1("memory", "/")], { [`${V1}/memory/memory.limit_in_bytes`]: NO_LIMIT_V1 });
  expect(limits).toEqual({ memoryBytes: null, cores: null });
});

test("version 2, a container: its group is the root", () => {
  const limits = machine(["0::/"], [mountV2()], { [`${V1}/memory.max`]: 536870912, [`${V1}/cpu.max`]: "50000 100000" });
  expect(limits).toEqual({ memoryBytes: 536870912, cores: 0.5 });
});

test("version 2, a service or a pod: the tightest of its group and of those above it", () => {
  const pod = `${V1}/kubepods.slice/pod7.slice`;
  const limits = machine(["0::/kubepods.slice/pod7.slice/worker.scope"], [mountV2()], {
    [`${V1}/kubepods.slice/memory.max`]: "max",
    [`${V1}/kubepods.slice/cpu.max`]: "max 100000",
    [`${pod}/memory.max`]: 2e9,
    [`${pod}/cpu.max`]: "300000 100000",
    [`${pod}/worker.scope/memory.max`]: 4e9,
    [`${pod}/worker.scope/memory.high`]: 3e9,
    [`${pod}/worker.scope/cpu.max`]: "max 100000",
  });
  expect(limits).toEqual({ memoryBytes: 2e9, cores: 3 });
});

test("version 2: a group that the mount does not show is that of a container, whose own is mounted", () => {
  const limits = machine(["0::/../../other"], [mountV2()], { [`${V1}/memory.max`]: 1e9, "sys/fs/memory.max": 1 });
  expect(limits.memoryBytes).toBe(1e9);
  const elsewhere = machine(["0::/system.slice/docker-7.scope"], [mountV2("/system.slice/docker-8.scope")], {});
  expect(elsewhere.memoryBytes).toBe(1e9);
});

test("both versions at once: each controller where it is", () => {
  const limits = machine(
    ["4:memory:/box", "0::/box"],
    [`42 32 0:39 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw`, mountV1("memory", "/")],
    { [`${V1}/memory/box/memory.limit_in_bytes`]: 1e9, [`${V1}/unified/box/cpu.max`]: "200000 100000" },
  );
  expect(limits).toEqual({ memoryBytes: 1e9, cores: 2 });
});

test("where there are no control groups nothing limits", () => {
  expect(cgroupLimits(root)).toEqual({ memoryBytes: null, cores: null });
});

test("memory present is the smaller of the machine's and the container's; no limit is no limit", () => {
  expect(memoryPresent(64e9, 16e9)).toEqual({ bytes: 16e9, limitedBy: "cgroup" });
  expect(memoryPresent(64e9, null)).toEqual({ bytes: 64e9, limitedBy: "machine" });
  expect(memoryPresent(64e9, 128e9)).toEqual({ bytes: 64e9, limitedBy: "machine" });
});

test.each([
  [8, null, 8],
  [8, 2, 2],
  [8, 1.5, 1],
  [8, 0.25, 1],
  [2, 16, 2],
])("of %d cores and a share of %s, %d threads compute", (cores, limit, threads) => {
  expect(coresPresent(cores, limit)).toBe(threads);
});
