export interface ServerEvent {
  readonly name: string;
  /** Where a reader goes on behind it; "" for one without. */
  readonly id: string;
  readonly data: string;
}

/** Server-sent events of a text stream (WHATWG HTML, 9.2.6, without `retry`); of what holds no data, a comment, `onComment` is told. */
export async function* parseEvents(chunks: AsyncIterable<string>, onComment: () => void = () => {}): AsyncGenerator<ServerEvent> {
  let rest = "";
  for await (const chunk of chunks) {
    const blocks = (rest + chunk).split("\n\n");
    rest = blocks.pop()!;
    for (const block of blocks) {
      const fields = block.split("\n").map((line) => /^([a-z]+): ?(.*)$/.exec(line));
      const value = (name: string) => fields.filter((field) => field?.[1] === name).map((field) => field![2]!);
      if (value("data").length > 0)
        yield { name: value("event")[0] ?? "message", id: value("id")[0] ?? "", data: value("data").join("\n") };
      else onComment();
    }
  }
}
