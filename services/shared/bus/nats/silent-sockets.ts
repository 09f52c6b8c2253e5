import { subscribe } from "node:diagnostics_channel";
import type { Socket } from "node:net";

/** A try is given up by then, and its socket is nobody's. */
const MARGIN_MS = 100;

/** The longest that a connection of this process waits for a server's first word; 0: there is none yet. */
let longestMs = 0;

/**
 * Closes sockets of nats.js on which the server sent nothing within `tryMs`. The library (2.29) gives such a try up but leaves its socket open, which a
 * frozen server's system has accepted: one every few seconds until none can be opened, and each keeps the process from ending. A server that speaks
 * sends INFO at once, and closes whoever does not answer it.
 */
export function closeSilentSockets(tryMs: number): void {
  if (longestMs === 0) subscribe("net.client.socket", (message) => watch((message as { readonly socket: Socket }).socket));
  longestMs = Math.max(longestMs, tryMs);
}

/** All sockets of the process come by here, and a stack is all that tells whose they are. They are few. */
function watch(socket: Socket): void {
  if (!/[\\/]node_modules[\\/]nats[\\/]/.test(new Error().stack ?? "")) return;
  setTimeout(() => socket.bytesRead === 0 && socket.destroy(), longestMs + MARGIN_MS).unref();
}
