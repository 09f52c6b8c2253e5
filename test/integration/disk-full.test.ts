import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { openBus } from "../../services/shared/bus/open.ts";
import { progress, submitAndClaim } from "../support/bus.ts";
import { NatsServer } from "../support/nats.ts";

const folder = mkdtempSync(join(tmpdir(), "longshore-disk-"));
const mount = (...args: readonly string[]) => spawnSync("mount", args).status === 0;
/** A disk of our own takes the right to mount one. */
const disk = mount("-t", "tmpfs", "-o", "size=12m", "tmpfs", folder);

afterAll(() => {
  if (disk) spawnSync("umount", [folder]);
  rmSync(folder, { recursive: true, force: true });
});

test.runIf(disk)(
  "a disk that fills up under NATS takes nothing that was acknowledged, and who works goes on once there is room",
  async () => {
    const nats = await NatsServer.start(folder);
    const bus = openBus({ url: nats.url, answerMs: 1_500, tryMs: 500 });
    await bus.ready(60_000);
    const claim = await submitAndClaim(bus, "job");
    const kept: number[] = [];
    const payload = (i: number) => new Uint8Array(500_000).fill(i);
    const fill = async () => {
      for (let i = 0; i < 40; i++) {
        await bus.payloads.put(`payload-${i}`, payload(i));
        kept.push(i);
      }
    };
    await expect(fill()).rejects.toMatchObject({ code: "UNAVAILABLE" });
    expect(kept.length).toBeGreaterThan(10);
    const appended = claim.append(progress(1));

    expect(mount("-o", "remount,size=64m", folder)).toBe(true);
    await nats.kill(); // a server that could not write has stopped JetStream until it is started again
    await nats.restart();
    expect((await appended)?.event).toEqual(progress(1));
    for (const i of kept) expect(Buffer.compare((await bus.payloads.get(`payload-${i}`))!, payload(i)), `payload ${i}`).toBe(0);
    expect((await bus.log.read("job")).map(({ event }) => event.type)).toEqual(["submitted", "claimed", "progress"]);
    await bus.close();
    await nats.kill();
  },
);
