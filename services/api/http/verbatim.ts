import type { FastifyReply } from "fastify";
import { isFields } from "../../shared/runtime/json.ts";

/** JSON as it was written. Printed with what surrounds it by `JSON.stringify`, numbers become the doubles next to them; by `printVerbatim` they stay. */
export class Verbatim {
  readonly text: string;

  /** Throws SyntaxError for what is not JSON. */
  constructor(text: string) {
    JSON.parse(text);
    this.text = text;
  }

  toJSON(): unknown {
    return JSON.parse(this.text);
  }
}

/** As `JSON.stringify` prints it, but for what is there verbatim. */
export function printVerbatim(value: unknown): string {
  if (value instanceof Verbatim) return value.text;
  if (Array.isArray(value)) return `[${value.map(printVerbatim).join(",")}]`;
  if (!isFields(value)) return JSON.stringify(value) ?? "null";
  const members = Object.entries(value).filter(([, member]) => member !== undefined);
  return `{${members.map(([key, member]) => `${JSON.stringify(key)}:${printVerbatim(member)}`).join(",")}}`;
}

/** Has what is sent next printed so. */
export const sendVerbatim = (reply: FastifyReply): FastifyReply => reply.type("application/json; charset=utf-8").serializer(printVerbatim);
