/** Messages that were written but not acknowledged yet: they survive a reload and go out in order. */

import { Backoff } from "./backoff.js";
import { asChatError, isAuthError, isPermanent, type ChatRequestError } from "./errors.js";
import type { Logger } from "./logger.js";
import { OutboxEntries, type Draft, type OutboxEntry } from "./outbox_entries.js";
import { Pause } from "./pause.js";
import type { Message, SendMessage } from "./protocol.js";
import type { OutboxStorage } from "./storage/types.js";
import { Tabs } from "./tabs.js";
import type { Link } from "./transport.js";
import { uuid } from "./uuid.js";

export type { Draft, OutboxEntry };

export interface OutboxOptions {
  storage: OutboxStorage;
  link: Link;
  logger: Logger;
  /** The entries of a conversation have changed. */
  onChange: (conversationId: string) => void;
  /** An entry was acknowledged, here or in another tab: it is this message now. */
  onSent: (message: Message) => void;
}

/** About four minutes of tries: longer than a server takes to be restarted or rolled back. */
const MAX_ODD_FAILURES = 20;

/**
 * Guarantees: an entry is sent only after the one before it in its conversation was
 * acknowledged or has failed for good, always with the same `client_msg_id`, and is
 * forgotten only when the server has it. Whatever may succeed later is repeated for
 * ever, after a rate limit no earlier than that allows; what cannot (403, 404, 409, 413, 415, 422) becomes `failed`, and so does what
 * makes the server fail (500) for minutes.
 */
export class Outbox {
  readonly #options: OutboxOptions;
  readonly #entries: OutboxEntries;
  #tabs: Tabs | undefined;
  readonly #draining = new Set<string>();
  readonly #sleepers = new Set<() => void>();
  /** A rate limit is the user's, in whichever conversation it was met. */
  readonly #pause = new Pause();

  constructor(options: OutboxOptions) {
    this.#options = options;
    this.#entries = new OutboxEntries({
      storage: options.storage,
      logger: options.logger,
      onChange: options.onChange,
      onStored: () => { this.#tabs?.post({ type: "outbox" }); },
    });
  }

  /**
   * Reads what an earlier page has left. `scope` names the server and the user; until
   * it is known, entries are kept in memory alone and nothing is sent.
   */
  async start(scope: string): Promise<void> {
    this.#tabs ??= new Tabs(scope, (message) => {
      if (message.type === "sent") this.#sentElsewhere(message.message);
      else void this.#reload();
    });
    this.#entries.start(`${scope}:outbox:`);
    await this.#reload();
  }

  /** The entries of a conversation, in order. */
  list(conversationId: string): readonly OutboxEntry[] {
    return this.#entries.list(conversationId);
  }

  /** Time at which a rate limit lets the next message go (ms since 1970); null where none holds one back. */
  heldUntil(conversationId: string): number | null {
    return this.#entries.next(conversationId) ? this.#pause.until : null;
  }

  /** Queues a message; it is visible at once and sent as soon as possible. */
  add(conversationId: string, draft: Draft): OutboxEntry {
    const entry: OutboxEntry = {
      ...draft,
      client_msg_id: uuid(),
      conversation_id: conversationId,
      order: this.#entries.nextOrder(conversationId),
      created_at: new Date().toISOString(),
      state: "queued",
      error: null,
    };
    void this.#entries.put(entry);
    void this.#drain(conversationId);
    return entry;
  }

  /** Sends a failed entry again, after all that are queued now. */
  retry(clientMsgId: string): void {
    const failed = this.#entries.get(clientMsgId);
    if (failed?.state !== "failed") return;
    const entry: OutboxEntry = {
      ...failed,
      order: this.#entries.nextOrder(failed.conversation_id),
      state: "queued",
      error: null,
    };
    // The key belongs to another message: under it, this one could never be sent.
    if (failed.error?.code === "idempotency_conflict") {
      entry.client_msg_id = uuid();
      void this.#entries.remove(clientMsgId);
    }
    void this.#entries.put(entry);
    void this.#drain(entry.conversation_id);
  }

  /** Gives a failed entry up. */
  discard(clientMsgId: string): void {
    if (this.#entries.get(clientMsgId)?.state === "failed") void this.#entries.remove(clientMsgId);
  }

  /** The connection is there. */
  online(): void {
    for (const conversationId of this.#entries.conversations()) void this.#drain(conversationId);
  }

  /** The connection is gone: whoever waits for its turn stops waiting. */
  offline(): void {
    for (const wake of this.#sleepers) wake();
  }

  /** Sends nothing more, until `start` is called again. */
  stop(): void {
    this.#tabs?.close();
    this.#tabs = undefined;
    this.offline();
  }

  /** Deletes every entry, sent or not. */
  async clear(): Promise<void> {
    await this.#entries.clear();
  }

  async #reload(): Promise<void> {
    await this.#entries.reload();
    this.online();
  }

  #sentElsewhere(message: Message): void {
    if (message.client_msg_id !== null) this.#entries.forget(message.client_msg_id);
    this.#options.onSent(message);
  }

  async #drain(conversationId: string): Promise<void> {
    const tabs = this.#tabs;
    if (!tabs || this.#draining.has(conversationId) || !this.#canSend(conversationId)) return;
    this.#draining.add(conversationId);
    try {
      await tabs.exclusively(conversationId, async () => {
        await this.#entries.reload(); // another tab may have sent some while this one waited
        await this.#sendAll(conversationId);
      });
    } catch (error) {
      this.#options.logger.warn("The outbox stopped", asChatError(error).toJSON());
    } finally {
      this.#draining.delete(conversationId);
    }
    // Something may have been queued, or the connection come back, while the lock was given back.
    if (this.#canSend(conversationId)) void this.#drain(conversationId);
  }

  #canSend(conversationId: string): boolean {
    return this.#tabs !== undefined && this.#options.link.isOnline && this.#entries.next(conversationId) !== undefined;
  }

  async #sendAll(conversationId: string): Promise<void> {
    const backoff = new Backoff({ base: 500, cap: 30_000 });
    while (this.#canSend(conversationId)) {
      const entry = this.#entries.next(conversationId);
      if (!entry) return;
      if (this.#pause.left > 0) {
        await this.#rest(conversationId);
        continue;
      }
      const error = await this.#send(entry);
      if (!error) backoff.reset();
      else if (isHopeless(error, backoff.tries)) {
        backoff.reset();
        await this.#entries.put({ ...entry, state: "failed", error: error.toJSON() });
      } else {
        this.#pause.note(error);
        if (this.#pause.left > 0) await this.#rest(conversationId);
        await this.#sleep(backoff.next());
      }
    }
  }

  /** Waits for the end of a rate limit, and lets it be shown. */
  async #rest(conversationId: string): Promise<void> {
    this.#options.onChange(conversationId);
    await this.#sleep(this.#pause.left);
    this.#options.onChange(conversationId);
  }

  /** One try; answers what went wrong, if anything. */
  async #send(entry: OutboxEntry): Promise<ChatRequestError | undefined> {
    try {
      await this.#entries.stored(entry.client_msg_id); // it must survive the tab before it leaves it
      const { message } = await this.#options.link.request("message", toPayload(entry));
      this.#tabs?.post({ type: "sent", message });
      this.#options.onSent(message);
      await this.#entries.remove(entry.client_msg_id);
      return undefined;
    } catch (error) {
      const failure = asChatError(error);
      this.#options.logger.debug("A message could not be sent", failure.toJSON());
      return failure;
    }
  }

  /** Ends early when the connection is lost or the client closed. */
  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        clearTimeout(timer);
        this.#sleepers.delete(wake);
        resolve();
      };
      const timer = setTimeout(wake, ms);
      this.#sleepers.add(wake);
    });
  }
}

/** A message that the server has a bug with (500) must not block those behind it for ever. */
function isHopeless(error: ChatRequestError, tries: number): boolean {
  if (isPermanent(error)) return true;
  return !error.retryable && !isAuthError(error) && tries >= MAX_ODD_FAILURES;
}

function toPayload(entry: OutboxEntry): SendMessage {
  return {
    conversation_id: entry.conversation_id,
    client_msg_id: entry.client_msg_id,
    content: entry.content,
    message_type: entry.message_type ?? "text",
    ...(entry.attachment === undefined ? {} : { attachment_id: entry.attachment.id }),
    ...(entry.media_url === undefined ? {} : { media_url: entry.media_url }),
    ...(entry.reply_to_seq === undefined ? {} : { reply_to_seq: entry.reply_to_seq }),
  };
}
