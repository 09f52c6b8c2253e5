import { DEPTH_MAX } from "../shared/engine/chat/python-json.ts";
import { refusal, ServingError } from "../shared/runtime/errors.ts";

/** Token ids, as many as the longest context has; and everything else that stands in a request. */
const IDS_MAX = 1_048_576;
const VALUES_MAX = 262_144;

/**
 * Before a body is checked: a value costs more to check and to keep than its bytes do, and whoever prints it later recurses. Throws TOO_LARGE or
 * INVALID_REQUEST.
 */
export function requireBounded(body: unknown): void {
  let ids = 0;
  let values = 0;
  const look = (value: unknown, depth: number): void => {
    if (++values > VALUES_MAX) throw tooMany(VALUES_MAX, "values");
    if (typeof value !== "object" || value === null) return;
    if (depth > DEPTH_MAX) throw refusal(`the request is nested deeper than ${DEPTH_MAX}`, { apiCode: "invalid_json" });
    if (!Array.isArray(value)) for (const name in value) look((value as Readonly<Record<string, unknown>>)[name], depth + 1);
    else
      for (const item of value) {
        if (!Number.isInteger(item)) look(item, depth + 1);
        else if (++ids > IDS_MAX) throw tooMany(IDS_MAX, "numbers in its lists");
      }
  };
  look(body, 0);
}

const tooMany = (max: number, what: string) =>
  new ServingError("TOO_LARGE", `the request has more than ${max} ${what}`, { apiCode: "request_too_large" });
