import { subscribe } from "node:diagnostics_channel";
import type { Socket } from "node:net";

/** Added to `tryMs`: by then the library has given the try up, and its socket has no owner. */
const MARGIN_MS = 100;

/** How long each open connection of this process waits for a server's first word, in ms. */
const waits = new Set<{ readonly tryMs: number }>();
let watches = false;

/**
 * Closes sockets of nats.js on which the server sent nothing within `tryMs`, until the returned function is called. The
 * library (2.29) gives such a try up but leaves its socket open, if a frozen server's system has accepted it: one every
 * few seconds until none can be opened, and each keeps the process from ending. A server that speaks sends INFO at
 * once, and closes a client that does not answer it.
 */
export function closeSilentSockets(tryMs: number): () => void {
  if (!watches) subscribe("net.client.socket", (message) => watch((message as { readonly socket: Socket }).socket));
  watches = true;
  const wait = { tryMs };
  waits.add(wait);
  return () => waits.delete(wait);
}

/**
 * All sockets of the process come by here; they are few. Only the stack tells which are the library's, and nothing
 * whose: each gets the time of the most patient connection.
 */
function watch(socket: Socket): void {
  if (!/[\\/]node_modules[\\/]nats[\\/]/.test(new Error().stack ?? "")) return;
  const longestMs = Math.max(0, ...[...waits].map(({ tryMs }) => tryMs));
  setTimeout(() => socket.bytesRead === 0 && socket.destroy(), longestMs + MARGIN_MS).unref();
}
