/** One conversation as an application uses it: what it shows, and what can be done in it. */

import { isPermanent } from "./errors.js";
import { History } from "./history.js";
import type { Identity } from "./identity.js";
import { ConversationLog, type LogEvent, type Tick } from "./log.js";
import type { Logger } from "./logger.js";
import { Derived, type Store } from "./observable.js";
import type { Draft, Outbox } from "./outbox.js";
import { UnreadPlace } from "./place.js";
import type { ChatError, Conversation, ConversationSync, Message, TypingEvent } from "./protocol.js";
import type { Receipts } from "./receipts.js";
import type { Rest } from "./rest.js";
import type { Rooms } from "./rooms.js";
import type { ConversationSnapshot, OpenAt } from "./snapshot.js";
import type { Link } from "./transport.js";
import { OthersTyping, OwnTyping } from "./typing.js";
import type { ChatMessage, Views } from "./view.js";

/** Services that conversations share. */
export interface ConversationContext {
  identity: Identity;
  link: Link;
  rest: Pick<Rest, "messages">;
  outbox: Outbox;
  receipts: Receipts;
  rooms: Rooms;
  views: Views;
  logger: Logger;
  requestSync: () => void;
  /** Its summary may have changed. */
  onChange: () => void;
}

const DELETE_CHECK = 1_000;
const HISTORY_RETRY = 3_000;

/** Get it from `client.conversation(id)`; it lives as long as the client. */
export class LiveConversation implements Store<ConversationSnapshot> {
  readonly id: string;
  /** @internal */
  readonly log: ConversationLog;
  readonly #context: ConversationContext;
  readonly #history: History;
  readonly #place: UnreadPlace;
  readonly #ownTyping: OwnTyping;
  readonly #othersTyping: OthersTyping;
  readonly #snapshot = new Derived(() => this.#compute());
  /** Acknowledged messages whose place in the log is not reached yet, by `client_msg_id`. */
  readonly #acknowledged = new Map<string, Message>();
  #opened = 0;
  #refusal: ChatError | null = null;
  #isCheckQueued = false;

  /** @internal */
  constructor(id: string, context: ConversationContext) {
    this.id = id;
    this.#context = context;
    this.log = new ConversationLog(context.identity, {
      changed: () => { this.#changed(); },
      gap: context.requestSync,
    });
    this.#history = new History({
      conversationId: id, log: this.log, rest: context.rest, onChange: () => { this.#historyChanged(); },
    });
    this.#place = new UnreadPlace(this.log, this.#history, () => context.receipts.readSeq(id));
    this.#ownTyping = new OwnTyping(context.link, id);
    this.#othersTyping = new OthersTyping(() => {
      this.#snapshot.invalidate();
      context.onChange();
    });
  }

  readonly subscribe = this.#snapshot.subscribe;
  readonly getSnapshot = this.#snapshot.getSnapshot;

  /** True while it is on a screen. */
  get isOpen(): boolean {
    return this.#opened > 0;
  }

  /** Messages not read, without those that `markRead` was called for. */
  get unreadCount(): number {
    return this.log.unreadCount(this.#context.receipts.readSeq(this.id));
  }

  /** Users who type now, without this user. */
  get typingUserIds(): readonly string[] {
    return this.#othersTyping.userIds;
  }

  /**
   * Shows it: loads the newest messages, or those around the first unread one, and hears
   * typing and presence, until the answered function is called.
   */
  open(at: OpenAt = "newest"): () => void {
    this.#opened += 1;
    const leave = this.#context.rooms.enter(this.id);
    if (at === "unread" && this.#opened === 1) this.#place.seek();
    this.#check();
    this.#snapshot.invalidate();
    let isOpen = true;
    return () => {
      if (!isOpen) return;
      isOpen = false;
      this.#opened -= 1;
      if (this.#opened === 0) this.#place.forget();
      this.#ownTyping.set(false);
      leave();
      this.#snapshot.invalidate();
    };
  }

  /** Sends a text or a draft, and shows the newest messages; answers the message's key at once. It never fails here: watch its `state`. */
  send(draft: string | Draft): string {
    this.#ownTyping.set(false);
    this.toNewest();
    return this.#context.outbox.add(this.id, typeof draft === "string" ? { content: draft } : draft).client_msg_id;
  }

  /** Sends a `failed` message again. */
  retry(key: string): void {
    this.#context.outbox.retry(key);
  }

  /** Throws a `failed` message away. */
  discard(key: string): void {
    this.#context.outbox.discard(key);
  }

  /** Replaces the text of an own message; rejects with a `ChatRequestError`, also when offline. */
  async edit(messageId: string, content: string): Promise<void> {
    const { message } = await this.#context.link.request("edit", { message_id: messageId, content });
    this.log.receive({ name: "message_updated", payload: message });
  }

  /** Deletes an own message for both; rejects with a `ChatRequestError`, also when offline. */
  async delete(messageId: string): Promise<void> {
    await this.#context.link.request("delete", { message_id: messageId });
    // The acknowledgement does not say which `rev` it got: should the event be lost, ask.
    setTimeout(() => {
      const held = this.log.timeline.messages.find((message) => message.id === messageId);
      if (held && !held.is_deleted) this.#context.requestSync();
    }, DELETE_CHECK);
  }

  /** One page into the past; resolves when it is there, or `error` says why not. */
  loadOlder(): Promise<void> {
    return this.#history.older();
  }

  /** One page towards the newest messages, while `hasNewer`; as `loadOlder`. */
  loadNewer(): Promise<void> {
    return this.#history.newer();
  }

  /** Shows the newest messages. */
  toNewest(): void {
    this.#place.leave();
    this.#snapshot.invalidate();
  }

  /** Shows the first unread message and what stands around it. */
  toUnread(): void {
    this.#place.seek();
    this.#check();
    this.#snapshot.invalidate();
  }

  /** The user has read everything up to `seq`; by default all that is there. Only a participant can. */
  markRead(seq?: number): void {
    const { info } = this.log;
    if (!this.log.isParticipant || (seq === undefined && this.unreadCount === 0)) return;
    const upTo = seq ?? this.#lastReceived()?.seq ?? info?.last_seq ?? 0;
    if (!info || upTo <= Math.max(info.read_seq, this.#context.receipts.readSeq(this.id))) return;
    this.#context.receipts.read(this.id, upTo);
    this.refresh();
  }

  /** Call it with each key: others see "typing" until 3 s after the last one. */
  setTyping(isTyping: boolean): void {
    this.#ownTyping.set(isTyping);
  }

  /** @internal An event of the `rev` sequence. */
  receive(event: LogEvent): void {
    if (event.name === "message") this.#othersTyping.set(event.payload.sender_id, false);
    this.log.receive(event);
  }

  /** @internal */
  typing(event: TypingEvent): void {
    if (event.user_id !== this.#context.identity.userId) this.#othersTyping.set(event.user_id, event.is_typing);
  }

  /** @internal The outbox's entry became this message. */
  sent(message: Message): void {
    if (message.client_msg_id !== null) this.#acknowledged.set(message.client_msg_id, message);
    this.log.receive({ name: "message", payload: message });
    this.#forgetAcknowledged();
    this.#snapshot.invalidate();
  }

  /** @internal A snapshot from `sync`, asked for at `since`. */
  summarize(answer: ConversationSync, since: Tick): void {
    this.#refusal = null;
    this.log.summarize(answer, since);
  }

  /** @internal A snapshot from `join`: it tells no changes, so it only helps where no messages are held. */
  joined(conversation: Conversation, since: Tick): void {
    if (this.log.position === undefined) this.summarize(conversation, since);
    else this.log.hint(conversation.rev);
  }

  /** @internal */
  refused(error: ChatError): void {
    this.#refusal = error;
    this.#snapshot.invalidate();
  }

  /** @internal The connection is there. */
  online(): void {
    this.#check();
  }

  /** @internal The connection is gone, and with it what is true only at this moment. */
  offline(): void {
    this.#othersTyping.clear();
  }

  /** @internal Something outside the log has changed: the outbox or what was read. */
  refresh(): void {
    this.#snapshot.invalidate();
    this.#context.onChange();
  }

  /** @internal It came from another database. */
  reset(): void {
    this.#acknowledged.clear();
    this.#refusal = null;
    this.log.reset();
  }

  #changed(): void {
    this.#forgetAcknowledged();
    this.#reportDelivered();
    this.refresh();
    if (this.isOpen && !this.#isCheckQueued) {
      this.#isCheckQueued = true;
      queueMicrotask(() => { this.#check(); });
    }
  }

  #historyChanged(): void {
    this.#snapshot.invalidate();
    if (this.#history.isLoading || !this.isOpen) return;
    if (this.#history.error) setTimeout(() => { this.#check(); }, Math.max(HISTORY_RETRY, this.#history.pausedFor));
    else this.#check();
  }

  /** Sees to it that an open conversation has something to show. */
  #check(): void {
    this.#isCheckQueued = false;
    const { error, isLoading, isIncomplete, pausedFor } = this.#history;
    if (!this.isOpen || !this.log.info || isLoading) return; // it is shown when the page is there as a whole
    if (this.#place.update()) this.#snapshot.invalidate();
    if (pausedFor > 0) return;
    if (error && (isPermanent(error) || !this.#context.link.isOnline)) return; // `online` comes back to it
    if (isIncomplete) void this.#history.newest();
    else if (this.#place.isSought) void this.#place.fetch();
    else if (this.log.unsureFrom !== undefined) void this.#history.refresh();
  }

  #lastReceived(): Message | undefined {
    const { messages } = this.log.timeline;
    for (let index = messages.length - 1; index >= 0; index -= 1) {
      const message = messages[index];
      if (message && message.sender_id !== this.#context.identity.userId) return message;
    }
    return undefined;
  }

  #reportDelivered(): void {
    const { info } = this.log;
    const message = this.#lastReceived();
    if (info && message?.status === "sent" && this.log.isParticipant) this.#context.receipts.delivered(this.id, message.seq);
  }

  #forgetAcknowledged(): void {
    for (const [key, message] of this.#acknowledged) {
      if ((this.log.rev ?? 0) >= message.rev) this.#acknowledged.delete(key);
    }
  }

  #compute(): ConversationSnapshot {
    const { info, timeline } = this.log;
    const { receipts, outbox } = this.#context;
    const error = this.#history.error ?? this.#refusal;
    const isMissing = !info || (timeline.last === undefined && info.last_seq > 0) || this.#place.isSought;
    const read_seq = this.log.isParticipant ? Math.max(info?.read_seq ?? 0, receipts.readSeq(this.id)) : 0;
    return {
      conversation: info ? { ...info, read_seq, unread_count: this.unreadCount } : null,
      messages: this.#place.isSought && !error ? [] : this.#shown(),
      hasOlder: this.#history.hasOlder,
      hasNewer: this.#history.hasNewer,
      isLoading: this.#history.isLoading || (isMissing && !error),
      typingUserIds: this.#othersTyping.userIds,
      error,
      heldUntil: outbox.heldUntil(this.id),
      isOpen: this.isOpen,
    };
  }

  #shown(): ChatMessage[] {
    const { timeline, past } = this.log;
    const { identity: { userId }, views, outbox } = this.#context;
    if (past.first !== undefined) return past.messages.map((message) => views.stored(message));
    const acknowledged = [...this.#acknowledged.values()].sort((a, b) => a.seq - b.seq);
    const own = [...timeline.messages, ...acknowledged].filter((message) => message.sender_id === userId);
    const known = new Set(own.map((message) => message.client_msg_id));
    const waiting = outbox.list(this.id).filter((entry) => !known.has(entry.client_msg_id));
    return [
      ...timeline.messages.map((message) => views.stored(message)),
      ...acknowledged.map((message) => views.stored(message)),
      ...waiting.map((entry) => views.waiting(entry)),
    ];
  }
}
