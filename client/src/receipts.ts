/** Tells the server what this device holds and what was read: coalesced, and until it knows. */

import { Backoff } from "./backoff.js";
import { asChatError, isPermanent } from "./errors.js";
import type { Logger } from "./logger.js";
import { Pause } from "./pause.js";
import type { Link } from "./transport.js";

export interface ReceiptsOptions {
  link: Link;
  logger: Logger;
  /** The server will never accept it: what was read counts as unread again. */
  onRefused: (conversationId: string) => void;
}

interface Report {
  delivered: number;
  read: number;
  /** Newest `seq` that the server has acknowledged as delivered. */
  ackedDelivered: number;
  ackedRead: number;
  timer: ReturnType<typeof setTimeout> | undefined;
  isBusy: boolean;
  backoff: Backoff;
}

const COALESCE = 100;

/** Cursors only go up, so only the highest one of each is ever sent. */
export class Receipts {
  readonly #options: ReceiptsOptions;
  readonly #reports = new Map<string, Report>();
  readonly #pause = new Pause();

  constructor(options: ReceiptsOptions) {
    this.#options = options;
  }

  /** This device holds everything up to `seq`. */
  delivered(conversationId: string, seq: number): void {
    const report = this.#report(conversationId);
    if (seq <= report.delivered) return;
    report.delivered = seq;
    this.#schedule(conversationId, COALESCE);
  }

  /** The user has read everything up to `seq`. */
  read(conversationId: string, seq: number): void {
    const report = this.#report(conversationId);
    if (seq <= report.read) return;
    report.read = seq;
    this.#schedule(conversationId, COALESCE);
  }

  /** Newest `seq` read here, though the server may not know yet. */
  readSeq(conversationId: string): number {
    return this.#reports.get(conversationId)?.read ?? 0;
  }

  /** The connection is there: send what could not be sent. */
  online(): void {
    for (const [conversationId, report] of this.#reports) {
      report.backoff.reset();
      if (isPending(report)) this.#schedule(conversationId, 0);
    }
  }

  /** Forgets everything: it spoke of another database. */
  reset(): void {
    for (const { timer } of this.#reports.values()) clearTimeout(timer);
    this.#reports.clear();
  }

  /** Sends nothing more until `online`; what is not acknowledged stays to be sent then. */
  stop(): void {
    for (const report of this.#reports.values()) {
      clearTimeout(report.timer);
      report.timer = undefined;
    }
  }

  #report(conversationId: string): Report {
    let report = this.#reports.get(conversationId);
    if (!report) {
      const backoff = new Backoff({ base: 1_000, cap: 30_000 });
      report = { delivered: 0, read: 0, ackedDelivered: 0, ackedRead: 0, timer: undefined, isBusy: false, backoff };
      this.#reports.set(conversationId, report);
    }
    return report;
  }

  #schedule(conversationId: string, wait: number): void {
    const report = this.#report(conversationId);
    if (report.timer !== undefined) return;
    report.timer = setTimeout(() => {
      report.timer = undefined;
      void this.#flush(conversationId, report);
    }, Math.max(wait, this.#pause.left));
  }

  async #flush(conversationId: string, report: Report): Promise<void> {
    if (report.isBusy || !this.#options.link.isOnline || !isPending(report)) return;
    if (this.#pause.left > 0) {
      this.#schedule(conversationId, 0);
      return;
    }
    report.isBusy = true;
    // Reading implies delivery: one report says both.
    const isRead = report.read > report.ackedRead;
    const seq = isRead ? report.read : report.delivered;
    try {
      await this.#options.link.request(isRead ? "read" : "delivered", { conversation_id: conversationId, seq });
      report.backoff.reset();
      if (isRead) report.ackedRead = seq;
      report.ackedDelivered = Math.max(report.ackedDelivered, seq);
    } catch (error) {
      this.#failed(conversationId, report, seq, isRead, error);
    } finally {
      report.isBusy = false;
    }
    if (isPending(report)) this.#schedule(conversationId, report.backoff.tries > 0 ? report.backoff.next() : 0);
  }

  #failed(conversationId: string, report: Report, seq: number, isRead: boolean, thrown: unknown): void {
    const error = asChatError(thrown);
    this.#options.logger.debug("A receipt was not accepted", error.toJSON());
    this.#pause.note(error);
    if (!isPermanent(error)) {
      report.backoff.next();
      return;
    }
    if (isRead) report.read = report.ackedRead;
    else report.ackedDelivered = seq; // never mind: asking again would not help
    if (isRead) this.#options.onRefused(conversationId);
  }
}

function isPending(report: Report): boolean {
  return report.read > report.ackedRead || report.delivered > report.ackedDelivered;
}
