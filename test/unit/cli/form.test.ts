import { expect, test } from "vitest";
import { formOf } from "../../../services/cli/form.ts";

test.each(["in.jsonl", 'a"b\r\nc.jsonl', "Zähler ü.jsonl", ""])(
  "a form says what was put into it, and how long it is: a file named %j",
  async (name) => {
    const content = async function* () {
      yield Buffer.from("\r\n--");
      yield Buffer.from([0, 255, 13, 10]);
    };
    const { headers, body } = formOf({ purpose: "batch", "expires_after[seconds]": "3600" }, { name, bytes: 8, content: content() });
    const sent: Uint8Array[] = [];
    for await (const bytes of body) sent.push(bytes);
    expect(Buffer.concat(sent).length).toBe(Number(headers["content-length"]));
    const form = await new Response(Buffer.concat(sent), { headers }).formData();
    const file = form.get("file") as File;
    expect([...form.keys()]).toEqual(["purpose", "expires_after[seconds]", "file"]);
    expect([form.get("purpose"), form.get("expires_after[seconds]"), file.name]).toEqual(["batch", "3600", name]);
    expect(Buffer.from(await file.arrayBuffer())).toEqual(Buffer.from([13, 10, 45, 45, 0, 255, 13, 10]));
  },
);
