import { execFileSync } from "node:child_process";
import { closeSync, mkdtempSync, openSync, readFileSync, readSync, realpathSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { mapFile } from "../../services/shared/engine/kernels.ts";

const BYTES = 64 << 20;
const PIECE = Buffer.from(Uint32Array.from({ length: 1_152 }, (_, i) => i * 2_654_435_761).buffer); // 4.5 KB, as a download writes

let folder: string;
beforeAll(() => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), "longshore-huge-")));
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

/** How much of a file that the system was made to forget, and the bytes a second it reads then: what it can do at the moment. */
function possible(name: string): { readonly share: number; readonly rate: number } {
  const path = written(name);
  const forget = () => execFileSync("dd", [`if=${path}`, "iflag=nocache", "count=0", "status=none"]);
  execFileSync("sync", [path]);
  forget();
  const piece = Buffer.alloc(1 << 20, 1); // touched, so that only reading takes time
  const file = openSync(path, "r");
  const start = performance.now();
  while (readSync(file, piece) > 0);
  const rate = BYTES / ((performance.now() - start) / 1_000);
  closeSync(file);
  forget();
  return { share: hugeShare(path), rate };
}

test("a file that was just written is mapped by huge pages, where the system has them for files", (context) => {
  const { share, rate } = possible("before");
  context.skip(share < 0.9, "this system maps no files by huge pages");
  context.skip(rate < 5e8, "this disk may be too slow for it");
  const shares = ["first", "second", "third"].map((name) => hugeShare(written(name))); // each is tried by the clock, beside whoever works here
  context.skip(possible("after").share < 0.9, "this system has run out of huge pages");
  expect(Math.max(...shares)).toBeGreaterThanOrEqual(0.9);
});
