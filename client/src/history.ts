/** Brings pages of a conversation's history into its log, by REST. */

import { asChatError, localError } from "./errors.js";
import type { Recording } from "./held.js";
import type { ConversationLog } from "./log.js";
import { Pause } from "./pause.js";
import type { ChatError, Message } from "./protocol.js";
import type { PageRequest, Rest } from "./rest.js";

export interface HistoryOptions {
  conversationId: string;
  log: ConversationLog;
  rest: Pick<Rest, "messages">;
  /** `isLoading` or `error` has changed. */
  onChange: () => void;
}

const PAGE = 50;
const MAX_PAGE = 100;
const MAX_TRIES = 5;
const RETRY_DELAY = 300;

/** One request at a time; what happens in the meantime is not lost, nor overwritten by an older page. */
export class History {
  readonly #options: HistoryOptions;
  readonly #pause = new Pause();
  #flight: Promise<void> | undefined;
  #error: ChatError | null = null;

  constructor(options: HistoryOptions) {
    this.#options = options;
  }

  get isLoading(): boolean {
    return this.#flight !== undefined;
  }

  /** Why the last page could not be fetched. */
  get error(): ChatError | null {
    return this.#error;
  }

  /** True if there are messages before those that are held. */
  get hasOlder(): boolean {
    const { info, timeline, past } = this.#options.log;
    const first = past.first ?? timeline.first;
    return first === undefined ? (info?.last_seq ?? 0) > 0 : first > 1;
  }

  /** True if there are messages between the run further back and the newest ones. */
  get hasNewer(): boolean {
    return this.#options.log.past.first !== undefined;
  }

  /** Milliseconds for which the server wants no request. */
  get pausedFor(): number {
    return this.#pause.left;
  }

  /** True if the window is missing or too short to fill a screen. */
  get isIncomplete(): boolean {
    const { info, timeline } = this.#options.log;
    return timeline.messages.length < Math.min(PAGE / 2, info?.last_seq ?? 0);
  }

  /** The next page into the past, or the newest one when nothing is held. Never rejects. */
  older(): Promise<void> {
    if (this.#flight) return this.#flight;
    if (!this.hasOlder) return Promise.resolve();
    const { past } = this.#options.log;
    return this.#run(() => (past.first === undefined ? this.#load() : this.#loadPast({ limit: PAGE, before_seq: past.first })));
  }

  /** The window of the newest messages, or more of it. Never rejects. */
  newest(): Promise<void> {
    return this.#flight ?? this.#run(() => this.#load());
  }

  /** The next page after the run further back. Never rejects. */
  newer(): Promise<void> {
    if (this.#flight) return this.#flight;
    const { last } = this.#options.log.past;
    return last === undefined ? Promise.resolve() : this.#run(() => this.#loadPast({ limit: PAGE, after_seq: last }));
  }

  /** A run further back with what stands before and after `seq`. Never rejects. */
  around(seq: number): Promise<void> {
    return this.#flight ?? this.#run(() => this.#loadPast({ limit: PAGE, before_seq: seq + 1 + PAGE / 2 }));
  }

  /** Fetches again those messages whose receipts were missed. Never rejects. */
  refresh(): Promise<void> {
    if (this.#flight) return this.#flight;
    return this.#run(async () => { await this.#refresh(); });
  }

  #run(work: () => Promise<void>): Promise<void> {
    this.#error = null;
    this.#flight = work()
      .catch((thrown: unknown) => {
        const error = asChatError(thrown);
        this.#pause.note(error);
        this.#error = error.toJSON();
      })
      .finally(() => {
        this.#flight = undefined;
        this.#options.onChange();
      });
    this.#options.onChange();
    return this.#flight;
  }

  /** A page may not fit, for instance because a sync dropped the window meanwhile: then once more. */
  async #load(): Promise<void> {
    for (let tries = 0; tries < MAX_TRIES; tries += 1) {
      const { first } = this.#options.log.timeline;
      const isAdded = await this.#page({ limit: PAGE, ...(first === undefined ? {} : { before_seq: first }) });
      if (isAdded || !this.hasOlder) return;
      await new Promise((resolve) => setTimeout(resolve, RETRY_DELAY));
    }
    throw localError("timeout");
  }

  /** Loads a page of the past. One that no longer fits is dropped; whoever needs it asks again. */
  async #loadPast(page: PageRequest): Promise<void> {
    const { log } = this.#options;
    const isAdded = await this.#page(page, (messages, recording) => log.mergePast(messages, recording));
    if (!isAdded) await new Promise((resolve) => setTimeout(resolve, RETRY_DELAY));
  }

  async #refresh(): Promise<void> {
    const { log } = this.#options;
    while (log.unsureFrom !== undefined) {
      const { jumps, unsureFrom } = log;
      for (let before = (log.timeline.last ?? 0) + 1; before > unsureFrom; before -= MAX_PAGE) {
        // It does not fit when the window was dropped: then there is nothing to be unsure of.
        if (!(await this.#page({ limit: MAX_PAGE, before_seq: before }))) return;
      }
      if (jumps === log.jumps) log.settle();
    }
  }

  async #page(
    page: PageRequest, merge = (messages: Message[], recording: Recording) => this.#options.log.mergePage(messages, recording),
  ): Promise<boolean> {
    const { log, rest, conversationId } = this.#options;
    const recording = log.record();
    try {
      return merge(await rest.messages(conversationId, page), recording);
    } catch (error) {
      log.discard(recording);
      throw error;
    }
  }
}
