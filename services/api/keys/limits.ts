import { z } from "zod";
import type { Clock } from "../../shared/runtime/clock.ts";
import { ServingError } from "../../shared/runtime/errors.ts";
import { Bucket } from "./bucket.ts";
import type { ApiKey } from "./key.ts";

export const KINDS = ["requests", "tokens"] as const;
export type Kind = (typeof KINDS)[number];

/** What a request takes from its key's limits. */
export type Spending = Readonly<Record<Kind, number>>;

/** Where a key stands: for headers. */
export interface Standing {
  readonly kind: Kind;
  readonly limit: number;
  readonly remaining: number;
  readonly resetSeconds: number;
}

interface Purse {
  readonly buckets: Readonly<Record<Kind, Bucket | null>>;
  /** Since its buckets were last full; another one from then on. */
  account: Account;
}

interface Account {
  /** Through this process. */
  spent: Spending;
  /** The most of it that the others were told: they take less for a new count, so what is given back later is told with what comes next. */
  told: Spending;
}

/** What a replica told, of the keys that are known here. */
type Report = ReadonlyMap<Purse, Spending>;

/** Requests and tokens. */
const entry = z.tuple([z.number(), z.number()]);
const reportForm = z.record(z.string(), entry);

const NOTHING: Spending = { requests: 0, tokens: 0 };

/**
 * What each key may still spend, over all replicas: each tells the others what it let through, so a limit is exact on one replica, and among
 * several it errs by what the others let through within one beat. Nothing is written for a request.
 */
export class Limits {
  readonly #clock: Clock;
  readonly #purses = new Map<string, Purse>();
  /** The last reports of the others. Of one that is not among them nobody knows how much of what it tells is paid for. */
  #told: ReadonlyMap<string, Report> = new Map();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * Takes all of it, as if it were one request's. Throws RATE_LIMITED, with the time after which there is room, and then takes nothing. Each result gives
   * back its own, once, unless all was paid for meanwhile: for what was refused after all.
   */
  spend(key: ApiKey, spendings: readonly Spending[]): readonly (() => void)[] {
    this.require(
      key,
      each((kind) => spendings.reduce((sum, spending) => sum + spending[kind], 0)),
    );
    return spendings.map((spending) => this.#take(this.#purse(key), spending));
  }

  #take(purse: Purse, spending: Spending): () => void {
    const { account } = purse;
    const add = (sign: 1 | -1) => {
      const change = each((kind) => sign * spending[kind]);
      take(purse, change, this.#clock.monotonicMs());
      account.spent = each((kind) => account.spent[kind] + change[kind]);
    };
    add(1);
    let isTaken = true;
    return () => {
      if (isTaken && purse.account === account) add(-1);
      isTaken = false;
    };
  }

  /** Throws what `spend` would. */
  require(key: ApiKey, spending: Spending): void {
    const purse = this.#purse(key);
    const nowMs = this.#clock.monotonicMs();
    for (const kind of KINDS) {
      const bucket = purse.buckets[kind];
      const seconds = Math.ceil(bucket?.secondsUntil(spending[kind], nowMs) ?? 0);
      if (seconds === 0) continue;
      const message = `this key has used its ${bucket!.limit} ${kind} a minute; try again in ${seconds} s`;
      throw new ServingError("RATE_LIMITED", message, { apiCode: "rate_limit_exceeded", retryAfterSeconds: seconds });
    }
  }

  standing(key: ApiKey): readonly Standing[] {
    const { buckets } = this.#purse(key);
    const nowMs = this.#clock.monotonicMs();
    return KINDS.flatMap((kind) => {
      const bucket = buckets[kind];
      if (bucket === null) return [];
      const remaining = Math.max(0, Math.floor(bucket.level(nowMs)));
      return [{ kind, limit: bucket.limit, remaining, resetSeconds: bucket.secondsUntilFull(nowMs) }];
    });
  }

  /** What went through this process and is not paid for, for the others; who does not know an idle replica takes what it tells next for old. */
  report(): string {
    const nowMs = this.#clock.monotonicMs();
    const open: Record<string, z.infer<typeof entry>> = {};
    for (const [id, purse] of this.#purses) {
      if (!isTouched(purse, nowMs)) purse.account = opened();
      const { account } = purse;
      account.told = each((kind) => Math.max(account.told[kind], account.spent[kind]));
      const { requests, tokens } = account.told;
      if (requests > 0 || tokens > 0) open[id] = [requests, tokens];
    }
    return JSON.stringify(open);
  }

  /** Takes what the others let through since they last told. `reports`: of all that live. */
  hear(reports: ReadonlyMap<string, string>, find: (keyId: string) => ApiKey | null): void {
    const nowMs = this.#clock.monotonicMs();
    const told = new Map([...reports].map(([replica, text]) => [replica, this.#read(text, find)]));
    for (const [replica, report] of told) {
      const before = this.#told.get(replica);
      for (const [purse, spending] of report)
        if (before === undefined) takeAtMost(purse, spending, nowMs);
        else take(purse, since(before.get(purse) ?? NOTHING, spending), nowMs);
    }
    this.#told = told;
  }

  #read(text: string, find: (keyId: string) => ApiKey | null): Report {
    const report = new Map<Purse, Spending>();
    for (const [id, [requests, tokens]] of Object.entries(reportForm.parse(JSON.parse(text)))) {
      const key = find(id);
      if (key !== null) report.set(this.#purse(key), { requests, tokens });
    }
    return report;
  }

  #purse(key: ApiKey): Purse {
    const known = this.#purses.get(key.id);
    if (known !== undefined) return known;
    const nowMs = this.#clock.monotonicMs();
    const of = (limit: number | null) => (limit === null ? null : new Bucket(limit, nowMs));
    const buckets = { requests: of(key.requestsPerMinute), tokens: of(key.tokensPerMinute) };
    const purse: Purse = { buckets, account: opened() };
    this.#purses.set(key.id, purse);
    return purse;
  }
}

const opened = (): Account => ({ spent: NOTHING, told: NOTHING });

const each = (amount: (kind: Kind) => number): Spending => ({ requests: amount("requests"), tokens: amount("tokens") });

/** What went through a replica since it was heard. Where it tells less than then, it has begun to count anew. */
const since = (heard: Spending, told: Spending): Spending =>
  told.requests < heard.requests || told.tokens < heard.tokens ? told : each((kind) => told[kind] - heard[kind]);

const isTouched = ({ buckets }: Purse, nowMs: number): boolean => KINDS.some((kind) => (buckets[kind]?.secondsUntilFull(nowMs) ?? 0) > 0);

function take({ buckets }: Purse, spending: Spending, nowMs: number): void {
  for (const kind of KINDS) buckets[kind]?.take(spending[kind], nowMs);
}

/** Of a replica that is heard for the first time, or again: it may have counted for hours, and most of that is paid for. */
function takeAtMost({ buckets }: Purse, spending: Spending, nowMs: number): void {
  for (const kind of KINDS) buckets[kind]?.takeAtMost(spending[kind], nowMs);
}
