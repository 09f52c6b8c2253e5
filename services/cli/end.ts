import { CommanderError } from "commander";
import { ServingError } from "../shared/runtime/errors.ts";

/** Whoever reads our output may have seen enough (`| head`): what is served goes on, what was computed ends as it would. */
export function watchOutput(): void {
  process.stdout.on("error", ({ code }: NodeJS.ErrnoException) => {
    if (code === "EPIPE") return;
    console.error(`longshore: the output cannot be written (${code})`);
    process.exit(1);
  });
  process.stderr.on("error", () => {}); // what is said beside it: an answer comes without, too
}

/** How a command ends that threw. Exit codes: 1 failed, 2 a wrong command line, configuration or request. */
export function endOf(thrown: unknown): void {
  if (thrown instanceof CommanderError) {
    process.exitCode = thrown.exitCode === 0 ? 0 : 2;
    return;
  }
  const error = ServingError.from(thrown);
  console.error(`longshore: ${error.message}`);
  if (error.code === "INTERNAL" && error.cause instanceof Error) console.error(error.cause.stack);
  const isAtFault = error.http < 500 || error.code === "BAD_CHECKPOINT"; // a folder that was named
  process.exit(isAtFault && !error.retryable ? 2 : 1); // what it had begun, such as a connection to NATS, would keep it here
}
