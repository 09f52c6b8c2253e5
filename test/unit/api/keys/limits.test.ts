import fc from "fast-check";
import { expect, test } from "vitest";
import { type ApiKey, makeKey, opens } from "../../../../services/api/keys/key.ts";
import { KeyRing } from "../../../../services/api/keys/key-ring.ts";
import { KEYS_MAX, makeRoom } from "../../../../services/api/keys/keys-room.ts";
import { Limits } from "../../../../services/api/keys/limits.ts";
import { shareLimitsUntil } from "../../../../services/api/keys/share-limits.ts";
import { openBus } from "../../../../services/shared/bus/open.ts";
import { Reach } from "../../../../services/shared/bus/reach.ts";
import type { Clock } from "../../../../services/shared/runtime/clock.ts";
import { silentLog } from "../../../../services/shared/runtime/log.ts";
import { overriding } from "../../../support/overriding.ts";

const keyWith = (requestsPerMinute: number | null, tokensPerMinute: number | null) =>
  makeKey({ name: "n", tenant: "t", requestsPerMinute, tokensPerMinute, createdMs: 0 });

/** A clock that stands until it is moved. */
const handClock = () => {
  const clock = { ms: 0, nowMs: () => clock.ms, monotonicMs: () => clock.ms, sleep: async () => {}, after: () => () => {} };
  return clock satisfies Clock;
};

test("over any minute, no more passes than the limit twice and one request that is larger than what was left", () => {
  const step = fc.record({ waitMs: fc.integer({ min: 0, max: 20_000 }), tokens: fc.integer({ min: 1, max: 3_000 }) });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), fc.integer({ min: 1, max: 1_000 }), (steps, limit) => {
      const clock = handClock();
      const limits = new Limits(clock);
      const { key } = keyWith(null, limit);
      const passed: { atMs: number; tokens: number }[] = [];
      for (const { waitMs, tokens } of steps) {
        clock.ms += waitMs;
        if (spends(limits, key, tokens)) passed.push({ atMs: clock.ms, tokens });
      }
      for (const [i, { atMs }] of passed.entries()) {
        const minute = passed.slice(i).filter((later) => later.atMs < atMs + 60_000);
        const last = minute.at(-1)!.tokens;
        const before = minute.reduce((sum, { tokens }) => sum + tokens, 0) - last;
        expect(before).toBeLessThanOrEqual(2 * limit);
      }
    }),
  );
});

test("whoever waits as long as he was told gets in, and a moment earlier does not", () => {
  const clock = handClock();
  const limits = new Limits(clock);
  const { key } = keyWith(2, 600);
  limits.spend(key, [{ requests: 1, tokens: 500 }]);
  limits.spend(key, [{ requests: 1, tokens: 50 }]);
  expect(refusal(() => limits.spend(key, [{ requests: 1, tokens: 10 }]))).toMatchObject({ code: "RATE_LIMITED", retryAfterSeconds: 30 });
  clock.ms = 29_000;
  expect(refusal(() => limits.spend(key, [{ requests: 1, tokens: 10 }]))).toMatchObject({ retryAfterSeconds: 1 });
  clock.ms = 30_000;
  limits.spend(key, [{ requests: 1, tokens: 10 }]);
});

test("a request larger than the limit gets in when nothing else was used, and is paid for afterwards", () => {
  const clock = handClock();
  const limits = new Limits(clock);
  const { key } = keyWith(null, 100);
  limits.spend(key, [{ requests: 1, tokens: 1_000 }]);
  expect(limits.standing(key)).toEqual([{ kind: "tokens", limit: 100, remaining: 0, resetSeconds: 600 }]);
  clock.ms = 540_000;
  expect(refusal(() => limits.spend(key, [{ requests: 1, tokens: 1 }]))).toMatchObject({ retryAfterSeconds: 1 });
  clock.ms = 600_000;
  limits.spend(key, [{ requests: 1, tokens: 100 }]);
});

test("what is spent together is taken as a whole or not at all, and given back each on its own", () => {
  const clock = handClock();
  const limits = new Limits(clock);
  const { key } = keyWith(10, 1_000);
  const standing = () => limits.standing(key).map(({ remaining }) => remaining);
  const answers = [1, 0, 0].map((requests) => ({ requests, tokens: 600 }));
  limits.spend(key, [{ requests: 1, tokens: 10 }]);
  expect(refusal(() => limits.spend(key, answers))).toMatchObject({ code: "RATE_LIMITED", retryAfterSeconds: 1 });
  expect(standing()).toEqual([9, 990]);
  clock.ms = 6_000;
  const taken = limits.spend(key, answers);
  expect(standing()).toEqual([9, 0]);
  for (const giveBack of taken.slice(1)) giveBack();
  expect(standing()).toEqual([9, 400]);
  expect(taken).toHaveLength(3);
});

test("replicas that tell each other share one limit; what was told twice, or not at all, is not counted twice", () => {
  const clock = handClock();
  const { key } = keyWith(10, null);
  const [a, b] = [new Limits(clock), new Limits(clock)];
  const tell = () => beat([a, b], key);
  for (let i = 0; i < 4; i++) a.spend(key, [{ requests: 1, tokens: 0 }]);
  for (let i = 0; i < 3; i++) b.spend(key, [{ requests: 1, tokens: 0 }]);
  for (let i = 0; i < 3; i++) tell();
  const remaining = () => [a, b].map((limits) => limits.standing(key)[0]!.remaining);
  expect(remaining()).toEqual([3, 3]);
  for (let i = 0; i < 3; i++) b.spend(key, [{ requests: 1, tokens: 0 }]);
  tell();
  expect(remaining()).toEqual([0, 0]);
  expect(refusal(() => a.spend(key, [{ requests: 1, tokens: 0 }]))).toMatchObject({ retryAfterSeconds: 6 });
  clock.ms += 60_000;
  tell();
  expect([a.report(), b.report(), remaining()]).toEqual(["{}", "{}", [10, 10]]);
  a.spend(key, [{ requests: 1, tokens: 0 }]);
  tell();
  expect(remaining()).toEqual([9, 9]);
});

test.each([
  ["bursts of the limit", 10_000, 62],
  ["requests of five times the limit", 50_000, 302],
])("replicas that were idle and let %s through within one beat, wait together until all of it is paid for", (_, tokens, seconds) => {
  for (const count of [2, 4]) {
    const clock = handClock();
    const { key } = keyWith(null, 10_000);
    const replicas = Array.from({ length: count }, () => new Limits(clock));
    let passed = 0;
    const untilMs = 6 * count * seconds * 1_000;
    for (beat(replicas, key); clock.ms < untilMs; clock.ms += 1_000, beat(replicas, key)) {
      if (clock.ms % (seconds * 1_000) !== 0) continue;
      passed += replicas.filter((limits) => spends(limits, key, tokens)).length * tokens;
    }
    const limit = (untilMs / 60_000) * 10_000;
    expect(passed, `${count} replicas`).toBeLessThanOrEqual(limit);
    expect(passed, `${count} replicas`).toBeGreaterThan(0.9 * limit);
  }
});

test("what is given back was never taken, however often it is given; the others hear of it with what comes next", () => {
  const [a, b] = [new Limits(handClock()), new Limits(handClock())];
  const { key } = keyWith(10, 1_000);
  const remaining = () => {
    beat([a, b], key);
    return [a, b].map((limits) => limits.standing(key).map(({ remaining }) => remaining));
  };
  remaining();
  a.spend(key, [{ requests: 1, tokens: 100 }]);
  const [untold] = a.spend(key, [{ requests: 1, tokens: 400 }]);
  for (let times = 0; times < 2; times++) untold!();
  expect(remaining()).toEqual([[9, 900], [9, 900]]); // biome-ignore format: a row for each
  const [told] = a.spend(key, [{ requests: 1, tokens: 400 }]);
  expect(remaining()).toEqual([[8, 500], [8, 500]]); // biome-ignore format: a row for each
  told!();
  expect(remaining()).toEqual([[9, 900], [8, 500]]); // biome-ignore format: a row for each
  a.spend(key, [{ requests: 1, tokens: 300 }]);
  expect(remaining()).toEqual([[8, 600], [8, 500]]); // biome-ignore format: a row for each
  a.spend(key, [{ requests: 1, tokens: 200 }]);
  expect(remaining()).toEqual([[7, 400], [7, 400]]); // biome-ignore format: a row for each
});

test("what was paid for meanwhile is not given back", () => {
  const clock = handClock();
  const limits = new Limits(clock);
  const { key } = keyWith(null, 100);
  const [giveBack] = limits.spend(key, [{ requests: 1, tokens: 60 }]);
  clock.ms = 60_000;
  limits.report();
  limits.spend(key, [{ requests: 1, tokens: 80 }]);
  giveBack!();
  expect(limits.standing(key)[0]!.remaining).toBe(20);
});

test("what was told of a key is taken once it is known", () => {
  const [limits, another] = [new Limits(handClock()), new Limits(handClock())];
  const { key } = keyWith(10, null);
  const hear = (known: ApiKey | null) => limits.hear(new Map([["another", another.report()]]), () => known);
  hear(null);
  another.spend(key, [{ requests: 4, tokens: 0 }]);
  for (const known of [null, key, key]) hear(known);
  expect(limits.standing(key)[0]!.remaining).toBe(6);
});

test("a replica without anything to tell says so, for the others to know it", async () => {
  const { registry } = openBus({ url: "memory:" });
  const { key } = keyWith(1, null);
  await registry.keepKey(key.id, JSON.stringify(key));
  const beats: string[] = [];
  const told = overriding(registry, { beat: async (_role, replica, text) => void beats.push(replica, text) });
  const stop = new AbortController();
  const clock = { ...handClock(), sleep: async () => stop.abort() };
  const sharing = {
    registry: told,
    ring: new KeyRing(registry),
    limits: new Limits(clock),
    clock,
    beatMs: 1,
    reach: new Reach(silentLog, clock),
  };
  await shareLimitsUntil({ ...sharing, replica: "idle" }, stop.signal);
  expect(beats).toEqual(["idle", "{}"]);
});

test("what a key did not use is not kept for it: after an hour without requests a minute takes its limit and no more", () => {
  const clock = handClock();
  const limits = new Limits(clock);
  const { key } = keyWith(3, null);
  limits.spend(key, [{ requests: 1, tokens: 0 }]);
  clock.ms = 3_600_000;
  for (let i = 0; i < 3; i++) limits.spend(key, [{ requests: 1, tokens: 0 }]);
  expect(refusal(() => limits.spend(key, [{ requests: 1, tokens: 0 }]))).toMatchObject({ retryAfterSeconds: 20 });
});

test("a replica that begins to count anew gives nothing back of what it had told", () => {
  const limits = new Limits(handClock());
  const { key } = keyWith(10, null);
  const hear = (requests: number) => {
    limits.hear(new Map([["another", JSON.stringify({ [key.id]: [requests, 0] })]]), () => key);
    return limits.standing(key)[0]!.remaining;
  };
  expect([hear(7), hear(8), hear(1), hear(1)]).toEqual([3, 2, 1, 1]);
});

test("a key that was used to its limit for hours is not kept out for longer than a minute by replicas that come, or come back, meanwhile", () => {
  const clock = handClock();
  const { key } = keyWith(10, null);
  const old = new Limits(clock);
  for (const hours = 3; clock.ms < hours * 3_600_000; clock.ms += 6_000) while (spends(old, key, 0));
  const reports = new Map(["one", "two"].map((name) => [name, old.report()]));
  const fresh = new Limits(clock);
  fresh.hear(reports, () => key);
  const standing = () => fresh.standing(key)[0];
  expect(standing()).toMatchObject({ remaining: 0, resetSeconds: 60 });
  clock.ms += 60_000;
  fresh.hear(reports, () => key);
  expect(standing(), "what was told is not told again").toMatchObject({ remaining: 10, resetSeconds: 0 });
  fresh.hear(new Map(), () => key); // a nats-server that starts again knows of no beat
  fresh.hear(reports, () => key);
  expect(standing()).toMatchObject({ remaining: 0, resetSeconds: 60 });
});

test("a key opens with nothing but itself", () => {
  const { secret, key } = keyWith(null, null);
  expect(opens(secret, key)).toBe(true);
  fc.assert(
    fc.property(fc.integer({ min: 0, max: secret.length - 1 }), fc.string({ minLength: 1, maxLength: 1 }), (place, character) => {
      const other = secret.slice(0, place) + character + secret.slice(place + 1);
      expect(opens(other, key)).toBe(other === secret);
    }),
  );
  expect(JSON.stringify(key)).not.toContain(secret.slice(-43));
});

test("limits are shared while a key that opens has one", async () => {
  const { registry } = openBus({ url: "memory:" });
  const ring = new KeyRing(registry);
  const [limited, free] = [keyWith(1, null).key, keyWith(null, null).key];
  for (const key of [limited, free]) await registry.keepKey(key.id, JSON.stringify(key));
  await ring.look();
  expect(ring.limited).toBe(true);
  await registry.keepKey(limited.id, JSON.stringify({ ...limited, revokedMs: 5 }));
  await ring.look();
  expect(ring.limited).toBe(false);
});

const DAY_MS = 86_400_000;

test("where there are too many keys, the one revoked longest ago makes room, and those that open never do", async () => {
  const { registry } = openBus({ url: "memory:" });
  const keys = Array.from({ length: KEYS_MAX }, (_, i) => ({ ...keyWith(null, null).key, revokedMs: i < 3 ? 3 - i : null }));
  const keep = (key: ApiKey) => registry.keepKey(key.id, JSON.stringify(key));
  for (const key of keys.slice(1)) await keep(key);
  expect(await makeRoom(registry, DAY_MS + 3)).toEqual([]);
  await keep(keys[0]!);
  await expect(makeRoom(registry, DAY_MS)).rejects.toThrow("none was revoked more than a day ago"); // replicas may not know it yet
  expect(await makeRoom(registry, DAY_MS + 3)).toEqual([keys[2]]);
  expect(await makeRoom(registry, DAY_MS + 3)).toEqual([]);
  for (const revoked of [keys[1], keys[0]]) {
    await keep(keyWith(null, null).key);
    expect(await makeRoom(registry, DAY_MS + 3)).toEqual([revoked]);
  }
  await keep(keyWith(null, null).key);
  await expect(makeRoom(registry, DAY_MS + 3)).rejects.toThrow("there are 10000 keys already, and none was revoked more than a day ago");
  const left = (await registry.keptKeys(0, 2 * KEYS_MAX)).map(({ id }) => id);
  expect([left.length, keys.slice(3).every(({ id }) => left.includes(id))]).toEqual([KEYS_MAX, true]);
});

test("the ring knows what was made and revoked since it looked, and forgets nothing when the record is lost", async () => {
  const records = [openBus({ url: "memory:" }), openBus({ url: "memory:" })].map(({ registry }) => registry);
  let current = records[0]!;
  const ring = new KeyRing(new Proxy(current, { get: (_, name) => Reflect.get(current, name).bind(current) }));
  expect(() => ring.empty, "before it has looked, nobody knows").toThrow("could not be read yet");
  await ring.look();
  expect(ring.empty).toBe(true);
  const [one, two] = [keyWith(1, 2), keyWith(null, null)];
  await current.keepKey(one.key.id, JSON.stringify(one.key));
  await current.keepKey("another version's", "{}");
  await current.keepKey(two.key.id, JSON.stringify(two.key));
  await ring.look();
  expect([ring.find(one.secret), ring.find(two.secret), ring.find(`${one.secret}x`), ring.find("")]).toEqual([
    one.key,
    two.key,
    null,
    null,
  ]);
  await current.keepKey(one.key.id, JSON.stringify({ ...one.key, revokedMs: 5 }));
  await ring.look();
  expect([ring.find(one.secret), ring.find(two.secret), ring.empty]).toEqual([null, two.key, false]);
  current = records[1]!;
  const three = keyWith(null, null);
  await current.keepKey(three.key.id, JSON.stringify(three.key));
  for (let looks = 0; looks < 60; looks++) await ring.look();
  expect([ring.find(one.secret), ring.find(two.secret), ring.find(three.secret)]).toEqual([null, two.key, three.key]);
});

/** All tell, then each hears the others. */
function beat(replicas: readonly Limits[], key: ApiKey): void {
  const reports = replicas.map((limits) => limits.report());
  for (const [i, limits] of replicas.entries()) {
    const others = reports.map((text, other) => [`replica ${other}`, text] as const).filter((_, other) => other !== i);
    limits.hear(new Map(others), () => key);
  }
}

function spends(limits: Limits, key: ApiKey, tokens: number): boolean {
  try {
    limits.spend(key, [{ requests: 1, tokens }]);
    return true;
  } catch {
    return false;
  }
}

function refusal(work: () => void): unknown {
  try {
    work();
  } catch (error) {
    return error;
  }
  throw new Error("nothing was refused");
}
