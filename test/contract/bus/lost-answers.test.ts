import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { systemClock } from "../../../services/shared/runtime/clock.ts";
import {
  CLOCKS_MS,
  collect,
  faultsOf,
  finished,
  held,
  never,
  request,
  submitAndClaim,
  takeOver,
  takeoversMs,
  tokens,
} from "../../support/bus.ts";
import { ownServer } from "../../support/own-server.ts";

const own = ownServer();
const { ready, throughProxy } = own;

test("an append whose answer is lost is repeated and stored once", async () => {
  const bus = await throughProxy();
  const claim = await submitAndClaim(bus, "job");
  for (let i = 0; i < 5; i++) {
    const lost = own.proxy.swallow();
    const appended = claim.append(tokens(i, i));
    await lost;
    own.proxy.cut();
    expect((await appended)?.tokenCount).toBe(i + 1);
  }
  const records = await bus.log.read("job");
  expect(faultsOf(records)).toEqual([]);
  expect(records).toHaveLength(7);
});

test("an append whose answer is lost for longer than the dedupe window is recognised in the log", async () => {
  const bus = await throughProxy({ dedupeMs: 200 });
  const claim = await submitAndClaim(bus, "job");
  const lost = own.proxy.swallow();
  const appended = claim.append(tokens(0, 5));
  await lost;
  await sleep(500); // the window, not a condition, has to pass
  own.proxy.cut();
  const record = await appended;
  expect(record).toEqual((await bus.log.read("job")).at(-1));
  expect(await claim.append(tokens(1, 6))).not.toBeNull();
});

test("an append whose answer is lost until another worker took over ends in silence", async () => {
  const claimMs = 300;
  const bus = await throughProxy({ claimMs });
  const other = await ready({ claimMs });
  const claim = await submitAndClaim(bus, "job");
  const lost = own.proxy.swallow();
  const appended = claim.append(tokens(0, 5));
  await lost;
  const successor = held(await takeOver(other, "job", "prefill", "second"));
  expect(successor.tokenCount).toBe(1);
  await successor.append(tokens(1, 6));
  own.proxy.cut();
  // Inside the dedupe window the server still vouches for the first append; the next one is refused.
  await appended;
  expect(await claim.append(tokens(1, 7))).toBeNull();
  expect(claim.lost).toBe(true);
  expect(faultsOf(await other.log.read("job"))).toEqual([]);
});

test("readers whose connection is cut again and again see every event once and in order", async () => {
  const bus = await ready();
  const reader = await throughProxy();
  const claim = await submitAndClaim(bus, "job");
  const followed = [0, 1].map((after) => collect(reader.log.follow("job", after, never)));
  for (let i = 0; i < 300; i++) {
    await claim.append(tokens(i, i));
    if (i % 50 === 25) own.proxy.cut();
  }
  await claim.append(finished);
  const records = await bus.log.read("job");
  for (const seen of await Promise.all(followed)) expect(seen.slice(-302)).toEqual(records.slice(-302));
});

test("a worker whose clock is minutes off neither takes over early nor late", async () => {
  const claimMs = 500;
  const bus = await ready({ claimMs });
  await submitAndClaim(bus, "job");
  for (const skewMs of [600_000, -600_000]) {
    const clock = { ...systemClock, nowMs: () => Date.now() + skewMs };
    const skewed = await ready({ claimMs, clock });
    expect((await takeOver(skewed, "job", "prefill", "skewed")).kind).toBe("claimed");
  }
  for (const ms of await takeoversMs(bus, "job")) expect(ms).toBeGreaterThanOrEqual(claimMs - CLOCKS_MS);
});

test("the record's clock is asked again by whoever saw it later than he knows it to be", async () => {
  let passedMs = 0;
  const bus = await ready({ clock: { ...systemClock, monotonicMs: () => performance.now() + passedMs } });
  let jobs = 0;
  const submitted = async () => (await bus.log.submit(`job${++jobs}`, request())).sequence;
  const knownMs = await bus.log.nowMs();
  const before = await submitted();
  passedMs = 500;
  await bus.log.nowMs(knownMs + 3_600_000);
  expect((await submitted()) - before, "to ask it takes a place in the log").toBeGreaterThan(1);
});
