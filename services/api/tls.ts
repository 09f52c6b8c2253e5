import { readFileSync } from "node:fs";
import type { Config } from "../shared/runtime/config.ts";
import { ServingError } from "../shared/runtime/errors.ts";

/** Certificate and key, as PEM; null: plain text. Throws INVALID_REQUEST for half a setting and for files that cannot be read. */
export function tlsOf({ tlsCertFile, tlsKeyFile }: Pick<Config, "tlsCertFile" | "tlsKeyFile">): { cert: Buffer; key: Buffer } | null {
  if (tlsCertFile === "" && tlsKeyFile === "") return null;
  if (tlsCertFile === "" || tlsKeyFile === "")
    throw new ServingError("INVALID_REQUEST", "TLS needs both LONGSHORE_TLS_CERT_FILE and LONGSHORE_TLS_KEY_FILE");
  return { cert: read("LONGSHORE_TLS_CERT_FILE", tlsCertFile), key: read("LONGSHORE_TLS_KEY_FILE", tlsKeyFile) };
}

function read(name: string, file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (cause) {
    throw new ServingError("INVALID_REQUEST", `${name}=${file} cannot be read (${(cause as NodeJS.ErrnoException).code})`, { cause });
  }
}
