import { field, isObject, type Printable } from "../../shared/engine/chat/python-json.ts";

/** The value at a path of a body that was read so that numbers and key order survive; null where nothing is. */
export type Exactly = (...path: readonly (string | number)[]) => Printable;

/** Reads the body when first asked. */
export function onDemand(exact: () => Printable): Exactly {
  let body: Printable | undefined;
  return (...path) => {
    body ??= exact();
    return path.reduce<Printable>((value, key) => inside(value, key) ?? null, body);
  };
}

const inside = (value: Printable, key: string | number): Printable | undefined =>
  typeof key === "number" ? (value as readonly Printable[])[key] : isObject(value) ? field(value, key) : undefined;
