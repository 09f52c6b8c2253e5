import { expect, test } from "vitest";
import { RecordAway, toldOf } from "../../../../services/shared/bus/away.ts";
import { away, NoneLetsIn, unheard } from "../../../../services/shared/bus/nats/away.ts";

const servers = ["a:4222", "b:4222"];

test.each([
  ["CONNECTION_REFUSED", true, "(connection refused); start nats-server there, or correct LONGSHORE_NATS_URL"],
  ["getaddrinfo ENOTFOUND a", true, "(there is no such host); correct LONGSHORE_NATS_URL"],
  ["'Authorization Violation'", true, "(user or password refused); check the user and password in LONGSHORE_NATS_URL"],
  [
    "self-signed certificate in certificate chain",
    true,
    "(self-signed certificate in certificate chain); name the certificate of its authority in NODE_EXTRA_CA_CERTS",
  ],
  ["certificate has expired", true, "(certificate has expired); check the host in LONGSHORE_NATS_URL, and the certificate of nats-server"],
  [
    "tlsv13 alert certificate required",
    true,
    "(it asks for a client certificate); remove `verify` from the tls block of nats-server: longshore identifies itself by LONGSHORE_NATS_URL",
  ],
  ["tls", true, "(it does not speak TLS); write nats:// in LONGSHORE_NATS_URL, or give nats-server a certificate"],
  ["TIMEOUT", false, "(timeout); check LONGSHORE_NATS_URL and that nats-server is up"],
  ["no answer in time", false, "(connected, no answer in time); see its log, and in a cluster check that most of its servers are up"],
])("%s of the library is said in words, with what to do, and the address where no client reads it", (said, lasts, words) => {
  const error = away(new Error(said), servers);
  expect(error).toMatchObject({ code: "UNAVAILABLE", lasts, message: `NATS does not answer ${words}` });
  expect(toldOf(error)).toBe(`NATS at a:4222 or b:4222 does not answer ${words}`);
});

test.each([
  ["user or password refused", "a", true, ["'Authorization Violation'", "CONNECTION_REFUSED"]],
  ["user or password refused", "b", true, ["TIMEOUT", "'Authorization Violation'"]],
  ["timeout", "b", false, ["CONNECTION_REFUSED", "TIMEOUT"]],
  ["connection refused", "a or b", true, ["CONNECTION_REFUSED", "ECONNREFUSED"]],
])("of several servers the most telling is told: %s, by %s", (why, at, lasts, said) => {
  const refused = said.map((words, i) => ({ server: "ab"[i]!, cause: new Error(words) }));
  const error = away(new NoneLetsIn(refused), ["a", "b"]);
  expect(error).toMatchObject({ lasts, message: expect.stringContaining(`(${why})`) });
  expect(toldOf(error)).toContain(`NATS at ${at} does not answer (${why})`);
});

test("a server that is up without what is asked of it says so at once, and no client reads where", () => {
  const cause = new Error("nobody answers there");
  const asked = (subject: string) => unheard({ subject, servers, unprepared: null, cause });
  const [none, lacks] = [asked("$JS.API.INFO"), asked("longshore.log.job")];
  expect(none).toMatchObject({
    lasts: true,
    cause,
    message: expect.stringMatching(/\(it is up without JetStream\); start nats-server with --jet/),
  });
  expect(toldOf(none)).toMatch(/^NATS at a:4222 or b:4222 does not answer \(it is up without JetStream\)/);
  const words =
    "does not answer (it is up, but a stream of the cluster was deleted, or too few of the servers that keep it are up); see `nats stream report`";
  expect(lacks).toMatchObject({ lasts: true, cause, message: `NATS ${words}` });
  expect(toldOf(lacks)).toBe(`NATS at a:4222 or b:4222 for longshore.log.job ${words}`);
  const unprepared = new RecordAway({ at: "a", why: "w", advice: "a", lasts: false, cause: null });
  expect(unheard({ subject: "$JS.API.DIRECT.GET.LONGSHORE_LOG", servers, unprepared, cause })).toBe(unprepared);
});
