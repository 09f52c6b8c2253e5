/** Where something long stands, for a person. On a terminal one line that is drawn over; elsewhere a line for every tenth. */
interface Progress {
  update(done: number, total: number, note?: string): void;
  /** A line of its own, beside what is drawn. */
  say(text: string): void;
  /** Leaves the last state standing. */
  end(): void;
}

const WIDTH = 32;
/** What stands on the line beside label and bar, at its longest: a longer line would wrap, and could not be drawn over. */
const BESIDE = 46;
const REDRAW_MS = 100;

export function openProgress(label: string, out: NodeJS.WriteStream = process.stderr): Progress {
  let begin: { readonly ms: number; readonly share: number } | null = null;
  let drawnMs = 0;
  let tenth = -1;
  let last = "";
  return {
    update(done, total, note = "") {
      const share = total === 0 ? 1 : Math.min(1, done / total);
      begin ??= { ms: performance.now(), share };
      const line = `${label} ${bar(share, Math.max(10, Math.min(WIDTH, (out.columns || 80) - label.length - BESIDE)))} ${String(Math.floor(100 * share)).padStart(3)} %  ${eta(begin, share)}${note}`;
      const now = performance.now();
      const due = out.isTTY ? now - drawnMs >= REDRAW_MS || share === 1 : Math.floor(10 * share) > tenth;
      if (!due || line === last) return;
      drawnMs = now;
      tenth = Math.floor(10 * share);
      last = line;
      out.write(out.isTTY ? `\r\x1b[2K${line}` : `${line}\n`);
    },
    say(text) {
      out.write(`${out.isTTY ? "\r\x1b[2K" : ""}${text}\n${out.isTTY ? last : ""}`);
    },
    end() {
      if (out.isTTY && last !== "") out.write("\n");
    },
  };
}

/** Shows with `watch` where something stands that goes on by itself. Ctrl-C ends the watching alone, and says `next`: what to do then. */
export async function watching<T>(label: string, next: string, watch: (progress: Progress) => Promise<T>): Promise<T> {
  const progress = openProgress(label);
  const onInterrupt = () => {
    progress.end();
    console.error(`${label} goes on; ${next}`);
  };
  return leavable(onInterrupt, () => watch(progress).finally(() => progress.end()));
}

/** Ctrl-C during `work` ends the process, `onInterrupt` first. */
export async function leavable<T>(onInterrupt: () => void, work: () => Promise<T>): Promise<T> {
  const leave = () => {
    onInterrupt();
    process.exit(130);
  };
  process.once("SIGINT", leave);
  try {
    return await work();
  } finally {
    process.off("SIGINT", leave);
  }
}

const bar = (share: number, width: number): string => {
  const full = Math.round(width * share);
  return `[${"#".repeat(full)}${".".repeat(width - full)}]`;
};

/** From the pace since the first update: what a cache held was done before it. */
function eta(begin: { readonly ms: number; readonly share: number }, share: number): string {
  if (share <= begin.share || share >= 1) return "";
  const leftSeconds = (((performance.now() - begin.ms) / 1_000) * (1 - share)) / (share - begin.share);
  return `${leftSeconds < 90 ? `${Math.max(1, Math.round(leftSeconds))} s` : `${Math.round(leftSeconds / 60)} min`} left  `;
}
