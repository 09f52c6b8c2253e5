import { readFileSync } from "node:fs";
import { join } from "node:path";

/** The limits that control groups set for this process. null: no limit. */
export interface CgroupLimits {
  readonly memoryBytes: number | null;
  /**
   * CPU time in cores; may be a fraction. A set of cores (cpuset) is not counted here: `availableParallelism` sees it.
   */
  readonly cores: number | null;
}

/**
 * The tightest limits of the process's own group and of all visible groups above it, of version 1 or 2. `root` holds
 * proc and sys.
 */
export function cgroupLimits(root = "/"): CgroupLimits {
  const table = (path: string) => (read(join(root, path)) ?? "").split("\n");
  const groups = table("proc/self/cgroup").map(groupOf);
  const mounts = table("proc/self/mountinfo").map(mountOf);
  const tightest = (controller: string, limits: (folder: string) => readonly number[]) => {
    const all = foldersOf(controller, groups, mounts).flatMap((folder) => limits(join(root, folder)));
    return all.length === 0 ? null : Math.min(...all);
  };
  return { memoryBytes: tightest("memory", memoryLimits), cores: tightest("cpu", coreLimits) };
}

interface Group {
  /** Controllers of version 1; none if the line is that of version 2. */
  readonly controllers: readonly string[];
  readonly path: string;
}

/** Parses `4:memory:/docker/1a1f`, or of version 2 `0::/system.slice`. */
function groupOf(line: string): Group {
  const [, controllers = "", ...path] = line.split(":");
  return { controllers: controllers === "" ? [] : controllers.split(","), path: path.join(":") };
}

interface Mount {
  /** The group whose files lie at `point`. */
  readonly root: string;
  readonly point: string;
  readonly type: string;
  readonly options: readonly string[];
}

/** `196 192 0:31 /docker/1a1f /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory` */
function mountOf(line: string): Mount {
  const [of = "", as = ""] = line.split(" - ");
  const [, , , root = "", point = ""] = of.split(" ");
  const [type = "", , options = ""] = as.split(" ");
  return { root, point, type, options: options.split(",") };
}

/**
 * The group's own folder and those above it. A group outside the mount is a container's: its own group is mounted as
 * the root.
 */
function foldersOf(controller: string, groups: readonly Group[], mounts: readonly Mount[]): string[] {
  const first = groups.find(({ controllers }) => controllers.includes(controller));
  const group = first ?? groups.find(({ controllers, path }) => controllers.length === 0 && path !== "");
  const mount = mounts.find(({ type, options }) =>
    first === undefined ? type === "cgroup2" : type === "cgroup" && options.includes(controller),
  );
  if (group === undefined || mount === undefined) return [];
  const root = mount.root === "/" ? "" : mount.root;
  const inside = group.path === root || group.path.startsWith(`${root}/`) ? group.path.slice(root.length) : "";
  const names = inside.split("/").filter((name) => name !== "");
  if (names.includes("..")) return [mount.point];
  return Array.from({ length: names.length + 1 }, (_, depth) => join(mount.point, ...names.slice(0, depth)));
}

/** Version 1 says "no limit" by a number that no machine has, version 2 by "max". */
const memoryLimits = (folder: string): number[] =>
  ["memory.limit_in_bytes", "memory.max", "memory.high"].flatMap((file) => {
    const bytes = Number(read(join(folder, file)) ?? Number.NaN);
    return bytes > 0 && bytes < Number.MAX_SAFE_INTEGER ? [bytes] : [];
  });

/** CPU time over the period in which it may be used; version 1 has -1 where there is no limit, version 2 "max". */
function coreLimits(folder: string): number[] {
  const [quota, period] =
    read(join(folder, "cpu.max"))?.split(" ") ?? ["cpu.cfs_quota_us", "cpu.cfs_period_us"].map((file) => read(join(folder, file)) ?? "");
  const cores = Number(quota) / Number(period);
  return cores > 0 && Number.isFinite(cores) ? [cores] : [];
}

function read(path: string): string | null {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return null; // no control groups here, or none of this version
  }
}
