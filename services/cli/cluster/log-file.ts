import { appendFile, closeSync, openSync } from "node:fs";
import { Writable } from "node:stream";

/**
 * Appends what is written to a file. What cannot be, because the disk is full or the file is not ours, is lost: `onLost` hears of the first time,
 * and whoever writes here goes on.
 */
export class LogFile extends Writable {
  readonly #path: string;
  readonly #onLost: (cause: Error) => void;
  #file: number | null = null;
  #lost = false;

  constructor(path: string, onLost: (cause: Error) => void) {
    super();
    this.#path = path;
    this.#onLost = onLost;
    this.on("error", (cause) => this.#lose(cause)); // what is written once it has ended
  }

  override _write(chunk: Buffer, _: BufferEncoding, done: () => void): void {
    const written = (cause: Error | null) => {
      if (cause !== null) this.#lose(cause);
      done();
    };
    try {
      this.#file ??= openSync(this.#path, "a");
    } catch (cause) {
      written(cause as Error);
      return;
    }
    appendFile(this.#file, chunk, written);
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    if (this.#file !== null) closeSync(this.#file);
    done(error);
  }

  #lose(cause: Error): void {
    if (!this.#lost) this.#onLost(cause);
    this.#lost = true;
  }
}
