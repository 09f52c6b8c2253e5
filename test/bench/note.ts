import type { WriteStream } from "node:tty";

/** One line that changes while something is measured. Without a terminal there is nothing to follow it, and it is left out. */
export interface Note {
  show(text: string): void;
  clear(): void;
}

export function openNote(stream: WriteStream): Note {
  const write = (text: string) => void (stream.isTTY && stream.write(`\r\x1b[K${text}`));
  return { show: (text) => write(`  ${text}`), clear: () => write("") };
}
