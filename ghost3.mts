import { setTimeout as sleep } from "node:timers/promises";
import { openBus } from "/tmp/wt/chaos/services/shared/bus/open.ts";
import { connect } from "nats";
import { NatsServer } from "/tmp/wt/chaos/test/support/nats.ts";
import { seededRandom } from "/tmp/wt/chaos/services/shared/runtime/random.ts";

const seed = Number(process.argv[2] ?? 1), rounds = Number(process.argv[3] ?? 10), gapMs = Number(process.argv[4] ?? 5);
const random = seededRandom(seed);
const upTo = (n: number) => random.u32() % n;
const ACK_WAIT = 1_000;
const server = await NatsServer.start();
const bus = openBus({ url: server.url, prefix: "t", ackWaitMs: ACK_WAIT, claimMs: 500 });
await bus.ready(5000);
const published = new Set<string>(), ackSent = new Map<string, number>(), delivered = new Map<string, number>();
const stop = new AbortController();
let n = 0;
let flowing = true;
const publisher = async () => { while (flowing) { const id = `j${n++}`; try { await bus.queue.publish("prefill", "m", "interactive", { jobId: id, promptTokens: 1 }); published.add(id); } catch (e) { } await sleep(upTo(gapMs)); } };
const puller = async () => { while (!stop.signal.aborted) { const b = performance.now(); const m = await bus.queue.pull("prefill", "m", 2000, stop.signal).catch((e) => { console.log("      pull failed", e.message); return null; }); if (performance.now() - b > 4000) console.log("      pull took", performance.now() - b, m?.item.jobId); if (!m) continue; const id = m.item.jobId; delivered.set(id, (delivered.get(id) ?? 0) + 1); 
  const r = upTo(10); if (flowing && r === 0) continue; // drops it: must come again
  if (flowing && r === 1) { m.nak(10); continue; }
  await sleep(upTo(50)); m.ack(); ackSent.set(id, performance.now()); } };
const ps = Array.from({ length: 4 }, puller);
let acc = 0;
for (let round = 0; round < rounds; round++) {
  flowing = true;
  const pubs = [publisher(), publisher()];
  for (let kill = 0; kill < 6; kill++) {
  await sleep(upTo(upTo(3) ? 300 : 3000));
  if (upTo(3) === 0) { flowing = false; await Promise.all(pubs.splice(0)); await sleep(upTo(600)); flowing = true; pubs.push(publisher(), publisher()); }
  await server.kill("SIGKILL");
  await sleep(upTo(100));
  await server.restart();
  }
  await sleep(upTo(1000));
  flowing = false; await Promise.all(pubs);
  console.log("      settling", new Date().toISOString());
  for (let last = -1, still = 0; ; ) { await sleep(1000); let total = 0; for (const v of delivered.values()) total += v; still = total === last ? still + 1 : 0; last = total; const l = await bus.queue.messages("prefill"); if (l.length === 0 || still > 13 || (still > 3 && l.every(({ jobId }) => ackSent.has(jobId)))) break; }
  console.log("      settled", new Date().toISOString()); const left = (await bus.queue.messages("prefill")).map(({ jobId }) => jobId);
  const acked = left.filter((id) => ackSent.has(id)), open = left.filter((id) => !ackSent.has(id));
  const lost = [...published].filter((id) => !ackSent.has(id) && !left.includes(id));
  console.log(`round ${round}: published ${published.size}, left ${left.length}: acked ghosts ${acked.length}, OPEN ghosts ${open.length} (delivered ever: ${open.filter((id) => delivered.has(id)).length}), lost ${lost.length}`);
  const nc = await connect({ servers: server.url }); const jsm = await nc.jetstreamManager();
  const state = async () => { const si = await jsm.streams.info("T_PREFILL"), ci = await jsm.consumers.info("T_PREFILL", (await jsm.consumers.list("T_PREFILL").next()).find((c) => c.name.includes("interactive"))!.name); return `stream ${si.state.messages} [${si.state.first_seq}, ${si.state.last_seq}] deleted ${si.state.num_deleted}; consumer delivered ${ci.delivered.stream_seq} floor ${ci.ack_floor.stream_seq} pending ${ci.num_pending} in flight ${ci.num_ack_pending}`; };
  console.log("   ", await state());
  if (open.length > 0) { for (const id of open.slice(0, 2)) { const m = await jsm.streams.getMessage("T_PREFILL", { last_by_subj: `t.prefill.*.*.*.${id}` } as never).catch((e) => e); console.log("    ", id, m.seq, m.time); }
    const m = await jsm.streams.getMessage("T_PREFILL", { last_by_subj: `t.prefill.*.*.*.${open.at(-1)}` } as never).catch((e) => e); console.log("     last", open.at(-1), m.seq, m.time); 
    let before = delivered.size; for (let i = 0; i < 5; i++) await bus.queue.publish("prefill", "m", "interactive", { jobId: `p${round}-${i}`, promptTokens: 1 }); await sleep(4000); console.log("     5 more published; delivered", delivered.size - before, await state()); }
  await nc.close();
  if (open.length > 0 && acc++ < 3) console.log("  open:", open.slice(0, 8).join(" "));
  for (const id of new Set(left)) await bus.queue.withdraw("prefill", id);
  for (const id of lost) published.delete(id);
}
stop.abort(); await Promise.all(ps); await bus.close(); await server.stop();
process.exit(0);
