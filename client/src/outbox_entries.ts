/** The outbox's entries: in memory to be shown at once, in storage to last, the same in all tabs. */

import { asChatError } from "./errors.js";
import type { Logger } from "./logger.js";
import type { Attachment, ChatError, MessageType } from "./protocol.js";
import type { OutboxStorage } from "./storage/types.js";
import { within } from "./timing.js";

/** Content of a message as a person writes it. */
export interface Draft {
  content: string;
  /** `text`, or by the attachment's type where there is one. */
  message_type?: MessageType;
  /** A file that was uploaded before. */
  attachment?: Attachment;
  media_url?: string;
  reply_to_seq?: number;
}

/** A message on its way; `order` is its place among those of its conversation. */
export interface OutboxEntry extends Draft {
  client_msg_id: string;
  conversation_id: string;
  order: number;
  created_at: string;
  state: "queued" | "failed";
  /** Why it failed. */
  error: ChatError | null;
}

export interface OutboxEntriesOptions {
  storage: OutboxStorage;
  logger: Logger;
  onChange: (conversationId: string) => void;
  /** The storage was written: other tabs may want to read it. */
  onStored: () => void;
}

/** Some browsers' IndexedDB has been seen to hang; the messages must go out all the same. */
const STORAGE_TIMEOUT = 5_000;
const GRACE = 2_000;

/**
 * Memory changes at once, storage follows in the same order. A storage that fails
 * costs the survival of a reload, never the message: it stays in memory.
 */
export class OutboxEntries {
  readonly #options: OutboxEntriesOptions;
  readonly #entries = new Map<string, OutboxEntry>();
  readonly #lists = new Map<string, readonly OutboxEntry[]>();
  /** Ids that are in the storage, as far as this tab knows. */
  readonly #stored = new Set<string>();
  /** Ids that are done with: a slow read of the storage must not bring them back. */
  readonly #gone = new Set<string>();
  /** Ids that another tab has sent, though the message itself has not come here yet. */
  readonly #leaving = new Map<string, ReturnType<typeof setTimeout>>();
  /** Writes under way, by id: until they are done, memory knows better than storage. */
  readonly #writes = new Map<string, Promise<void>>();
  #prefix = "";
  #begin: () => void = () => undefined;
  #last = new Promise<void>((resolve) => { this.#begin = resolve; });

  constructor(options: OutboxEntriesOptions) {
    this.#options = options;
  }

  /** Lets reading and writing begin, under keys that start with `prefix`. */
  start(prefix: string): void {
    this.#prefix = prefix;
    this.#begin();
  }

  get(id: string): OutboxEntry | undefined {
    return this.#entries.get(id);
  }

  /** The conversations that have entries. */
  conversations(): string[] {
    return [...new Set([...this.#entries.values()].map((entry) => entry.conversation_id))];
  }

  /** A conversation's entries in order; the same array until something changes. */
  list(conversationId: string): readonly OutboxEntry[] {
    let list = this.#lists.get(conversationId);
    if (!list) {
      list = [...this.#entries.values()]
        .filter((entry) => entry.conversation_id === conversationId)
        .sort((a, b) => a.order - b.order);
      this.#lists.set(conversationId, list);
    }
    return list;
  }

  /** The one to send now. */
  next(conversationId: string): OutboxEntry | undefined {
    return this.list(conversationId).find(
      ({ state, client_msg_id }) => state === "queued" && !this.#leaving.has(client_msg_id),
    );
  }

  /** Larger than that of every entry there is, also if the clock was set back. */
  nextOrder(conversationId: string): number {
    return Math.max(Date.now(), (this.list(conversationId).at(-1)?.order ?? 0) + 1);
  }

  /** Adds or replaces; resolves when it was stored (or could not be). */
  put(entry: OutboxEntry): Promise<void> {
    this.#set(entry);
    return this.#write(entry.client_msg_id, async (key) => {
      await this.#options.storage.set(key, JSON.stringify(entry));
      this.#stored.add(entry.client_msg_id);
    });
  }

  /** Removes; resolves when it is gone from the storage too. */
  remove(id: string): Promise<void> {
    this.forget(id);
    return this.#write(id, async (key) => {
      await this.#options.storage.delete(key);
      this.#stored.delete(id);
    });
  }

  /** Removes from memory what another tab removes from the storage. */
  forget(id: string): void {
    this.#gone.add(id);
    clearTimeout(this.#leaving.get(id));
    this.#leaving.delete(id);
    const entry = this.#entries.get(id);
    if (entry) this.#unset(entry);
  }

  /** Resolves when the last write of `id` is done. */
  async stored(id: string): Promise<void> {
    await this.#writes.get(id);
  }

  /** Takes over what the storage holds, from an earlier page or another tab. */
  async reload(): Promise<void> {
    await this.#run(async () => {
      const values = await this.#options.storage.list(this.#prefix);
      const stored = values.map((value) => JSON.parse(value) as OutboxEntry);
      this.#adopt(new Map(stored.map((entry) => [entry.client_msg_id, entry])));
    });
  }

  /** Deletes everything. */
  async clear(): Promise<void> {
    await this.reload();
    await Promise.all([...this.#entries.keys()].map((id) => this.remove(id)));
  }

  #adopt(stored: ReadonlyMap<string, OutboxEntry>): void {
    for (const [id, entry] of stored) {
      if (this.#gone.has(id) || this.#writes.has(id)) continue;
      this.#stored.add(id);
      if (JSON.stringify(this.#entries.get(id)) !== JSON.stringify(entry)) this.#set(entry);
    }
    for (const [id, entry] of [...this.#entries]) {
      if (stored.has(id) || this.#writes.has(id) || !this.#stored.delete(id)) continue;
      // It was stored and is not any more: another tab has discarded or sent it. A sent
      // one stays on the screen until the message is there to take its place.
      if (entry.state === "failed") this.#unset(entry);
      else this.#leaving.set(id, setTimeout(() => { this.forget(id); }, GRACE));
    }
  }

  #set(entry: OutboxEntry): void {
    this.#entries.set(entry.client_msg_id, entry);
    this.#changed(entry);
  }

  #unset(entry: OutboxEntry): void {
    this.#entries.delete(entry.client_msg_id);
    this.#changed(entry);
  }

  #changed(entry: OutboxEntry): void {
    this.#lists.delete(entry.conversation_id);
    this.#options.onChange(entry.conversation_id);
  }

  #write(id: string, work: (key: string) => Promise<void>): Promise<void> {
    const write = this.#run(() => work(this.#prefix + id)).then(() => {
      if (this.#writes.get(id) === write) this.#writes.delete(id);
      this.#options.onStored();
    });
    this.#writes.set(id, write);
    return write;
  }

  /** One after the other, so that a read sees every write before it; never rejects, never hangs. */
  #run(work: () => Promise<void>): Promise<void> {
    this.#last = this.#last.then(() => within(STORAGE_TIMEOUT, work())).catch((error: unknown) => {
      this.#options.logger.warn("The outbox's storage failed", asChatError(error).toJSON());
    });
    return this.#last;
  }
}
