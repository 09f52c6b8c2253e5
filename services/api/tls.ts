import { readFileSync } from "node:fs";
import { createSecureContext } from "node:tls";
import type { Config } from "../shared/runtime/config.ts";
import { refusal } from "../shared/runtime/errors.ts";

interface Tls {
  readonly cert: Buffer;
  readonly key: Buffer;
}

/** Certificate and key, as PEM; null: plain text. Throws INVALID_REQUEST for half a setting, and for files that are not a certificate and its key. */
export function tlsOf({ tlsCertFile, tlsKeyFile }: Pick<Config, "tlsCertFile" | "tlsKeyFile">): Tls | null {
  if (tlsCertFile === "" && tlsKeyFile === "") return null;
  if (tlsCertFile === "" || tlsKeyFile === "") throw refusal("TLS needs both LONGSHORE_TLS_CERT_FILE and LONGSHORE_TLS_KEY_FILE");
  const tls = { cert: read("LONGSHORE_TLS_CERT_FILE", tlsCertFile), key: read("LONGSHORE_TLS_KEY_FILE", tlsKeyFile) };
  try {
    createSecureContext(tls);
  } catch (cause) {
    const files = `LONGSHORE_TLS_CERT_FILE=${tlsCertFile} and LONGSHORE_TLS_KEY_FILE=${tlsKeyFile}`;
    throw refusal(`${files} are not a certificate and its key, as PEM (${(cause as Error).message})`, {
      cause,
    });
  }
  return tls;
}

function read(name: string, file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (cause) {
    throw refusal(`${name}=${file} cannot be read (${(cause as NodeJS.ErrnoException).code})`, { cause });
  }
}
