import { execFileSync } from "node:child_process";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { mapFile } from "../../services/shared/engine/kernels.ts";

const BYTES = 64 << 20;
const PIECE = Buffer.from(Uint32Array.from({ length: 1_152 }, (_, i) => i * 2_654_435_761).buffer); // 4.5 KB, as a download writes

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "longshore-huge-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function written(name: string): string {
  const path = join(folder, name);
  const file = openSync(path, "wx");
  for (let left = BYTES; left > 0; left -= PIECE.length) writeSync(file, PIECE, 0, Math.min(left, PIECE.length));
  closeSync(file);
  return path;
}

/** How much of it huge pages map once all of it was read, 0 to 1. */
function hugeShare(path: string): number {
  const map = mapFile(path);
  try {
    for (let at = 0; at < BYTES; at += 4_096) expect(map.bytes[at]).toBe(PIECE[at % PIECE.length]);
    const [, entry] = readFileSync("/proc/self/smaps", "utf8").split(`${path}\n`);
    const kilobytes = /^FilePmdMapped: +(\d+) kB$/m.exec(entry!)![1];
    return (Number(kilobytes) * 1_024) / BYTES;
  } finally {
    map.release();
  }
}

test("a file that was just written is mapped by huge pages, where the system has them for files", (context) => {
  const forgotten = written("forgotten");
  execFileSync("sync", [forgotten]);
  execFileSync("dd", [`if=${forgotten}`, "iflag=nocache", "count=0", "status=none"]);
  context.skip(hugeShare(forgotten) < 0.9, "this system maps no files by huge pages");
  expect(hugeShare(written("fresh"))).toBeGreaterThanOrEqual(0.9);
});
