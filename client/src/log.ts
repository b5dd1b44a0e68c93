/** State of one conversation on this device, built from snapshots and events; no input or output. */

import { cursorMoves, isParticipant, ReceiptCursors, type ReceiptStatus } from "./cursors.js";
import { RevGate } from "./gate.js";
import type { Identity } from "./identity.js";
import type { Conversation, ConversationSync, Message, Position } from "./protocol.js";
import { HeldMessages, type Recording } from "./held.js";
import { isUndated, mergeMessages, moveMessage, type CursorMove, type Timeline } from "./timeline.js";
import type { ServerEvent } from "./transport.js";
import { countsAsUnread, countUnread } from "./unread.js";

/** The events that take a `rev` of their conversation. */
export type LogEvent = Extract<ServerEvent, {
  name: "message" | "message_updated" | "message_deleted" | "delivery_receipt" | "read_receipt";
}>;

export interface LogListener {
  /** Something that can be seen has changed. */
  changed(): void;
  /** Events are missing: `sync` is wanted. */
  gap(): void;
}

/** Counts requests and answers, to tell whether something happened after a request was sent. */
export type Tick = number;

/**
 * Equal to the server's state at revision `rev`, for the messages it holds: the
 * gapless window that ends with the newest one, and may be empty, and a run further
 * back, which somebody reads until it meets the window.
 */
export class ConversationLog {
  info: Conversation | undefined;
  readonly #held = new HeldMessages();
  readonly #identity: Identity;
  readonly #listener: LogListener;
  readonly #gate: RevGate<LogEvent["payload"] & { event: LogEvent }>;
  /** The server's time of what the flags were taken from: no `rev` orders them. */
  #flagsAt = "";
  #unreadTick: Tick = -1;
  readonly #told = new ReceiptCursors();
  #unsureFrom: number | undefined;
  #jumps = 0;

  constructor(identity: Identity, listener: LogListener) {
    this.#identity = identity;
    this.#listener = listener;
    this.#gate = new RevGate({
      apply: ({ event }) => { this.#apply(event); },
      onGap: () => { listener.gap(); },
    });
  }

  /** The window that ends with the newest message. */
  get timeline(): Timeline {
    return this.#held.timeline;
  }

  /** The run further back. */
  get past(): Timeline {
    return this.#held.past;
  }

  get rev(): number | undefined {
    return this.#gate.rev;
  }

  /** Position to ask `sync` with; undefined while there is no message that could be out of date. */
  get position(): Position | undefined {
    const { last } = this.timeline;
    return last === undefined || this.rev === undefined ? undefined : { seq: last, rev: this.rev };
  }

  /**
   * Messages of others that were not read: counted where all are held, else the
   * server's word. `readSeq` is read already, though the server may not know yet.
   * Nothing is unread for someone who takes no part: the server keeps no cursor of theirs.
   */
  unreadCount(readSeq = 0): number {
    const { info } = this;
    if (!info || !this.isParticipant) return 0;
    return countUnread(info, this.#held, Math.max(readSeq, info.read_seq), this.#identity.userId);
  }

  /** True if a message makes this user's counter grow. */
  countsAsUnread(message: Message): boolean {
    return countsAsUnread(message, this.#identity.userId);
  }

  /** True if this user is one of the two whom the conversation is between. */
  get isParticipant(): boolean {
    return this.info !== undefined && isParticipant(this.info, this.#identity.userId);
  }

  /** True if the counter may be wrong: `unread` events may overtake each other. */
  get isDoubtful(): boolean {
    const last = this.info?.last_message;
    if (!this.info || !last || !this.isParticipant) return false;
    return this.unreadCount() === 0 && last.seq > this.info.read_seq && this.countsAsUnread(last);
  }

  /**
   * From this `seq` on, receipts were missed: the cursors tell how far a message has
   * come, but not when. Fetching those messages again tells it; see `settle`.
   */
  get unsureFrom(): number | undefined {
    return this.#unsureFrom;
  }

  /** Number of times that events were skipped because a snapshot came instead. */
  get jumps(): number {
    return this.#jumps;
  }

  /** Number of times that the messages held were dropped. */
  get drops(): number {
    return this.#held.drops;
  }

  /** The messages from `unsureFrom` on were fetched again, and there was no jump meanwhile. */
  settle(): void {
    this.#unsureFrom = undefined;
  }

  /** An event came, in whatever order. */
  receive(event: LogEvent): void {
    this.#gate.accept({ ...event.payload, event });
  }

  /** The server is at least this far. */
  hint(rev: number): void {
    this.#gate.hint(rev);
  }

  /**
   * A snapshot came. `since` is when it was asked for. Newer than what is held, it
   * must bring the changes in between, or the window of messages is dropped.
   */
  summarize(answer: ConversationSync, since: Tick): void {
    const { changes, limited, ...info } = answer;
    const held = this.rev;
    const missed = held !== undefined && info.rev > held;
    if (missed) this.#jumps += 1;
    if (missed && (!changes || limited)) this.#drop();
    if (this.timeline.last !== undefined) this.#held.take(changes ?? []);
    // Whether other devices of this user have confirmed these, no cursor tells.
    if (missed) this.#doubt(this.timeline.messages.find((m) => m.status === "sent" && m.sender_id !== this.#identity.userId));
    if (held === undefined || info.rev >= held) this.#adopt(info, since);
    else this.#adoptFlags(info);
    this.#listener.changed();
  }

  /** A `conversation` event: only what is outside the sequence of `rev` is taken from it. */
  flags(info: Conversation, now: Tick): void {
    if (this.info === undefined) {
      this.summarize(info, now);
      return;
    }
    this.#adoptFlags(info);
    this.hint(info.rev);
    this.#listener.changed();
  }

  /** An `unread` event. */
  unread(count: number, now: Tick): void {
    this.#unreadTick = now;
    if (!this.info || this.info.unread_count === count) return;
    this.info = { ...this.info, unread_count: count };
    this.#listener.changed();
  }

  /** Starts to record what happens, for `mergePage`. */
  record(): Recording {
    return this.#held.record();
  }

  /** Takes a page of history, or not: false when it does not fit (any more). */
  mergePage(page: readonly Message[], recording: Recording): boolean {
    const isTaken = this.#held.merge(this.#usable(page), recording, this.info?.last_seq ?? 0);
    if (isTaken) this.#merged();
    return isTaken;
  }

  /** Takes a page into the run further back, or not: false when it does not fit (any more). */
  mergePast(page: readonly Message[], recording: Recording): boolean {
    const isTaken = this.#held.mergePast(this.#usable(page), recording);
    if (isTaken) this.#merged();
    return isTaken;
  }

  /** Gives the run further back up. */
  leavePast(): void {
    if (this.past.first === undefined) return;
    this.past.clear();
    this.#listener.changed();
  }

  /** Stops a recording whose page never came. */
  discard(recording: Recording): void {
    this.#held.discard(recording);
  }

  /** Forgets the messages but not the conversation. */
  forgetMessages(): void {
    this.#drop();
    this.#listener.changed();
  }

  /** Forgets everything: it came from another database. */
  reset(): void {
    this.#gate.reset();
    this.#drop();
    this.info = undefined;
    this.#flagsAt = "";
    this.#told.clear();
    this.#listener.changed();
  }

  /** Messages of a page up to what is known; later ones come as events. */
  #usable(page: readonly Message[]): Message[] {
    for (const { rev } of page) this.hint(rev);
    return page.filter((message) => message.seq <= (this.info?.last_seq ?? 0));
  }

  #merged(): void {
    // Of those that cursors moved while they stood apart, nobody has told when.
    if (this.#held.join()) this.#doubt(this.timeline.messages.find(isUndated));
    this.#raise();
    this.#listener.changed();
  }

  #drop(): void {
    this.#held.drop();
    this.#unsureFrom = undefined;
  }

  #adopt(info: Conversation, since: Tick): void {
    const before = this.info;
    this.info = info;
    if (before && this.#unreadTick > since) this.info.unread_count = before.unread_count;
    if (before && info.updated_at < this.#flagsAt) this.#takeFlags(before);
    else this.#flagsAt = info.updated_at;
    // The window must end where the conversation does; an answer that broke its word leaves none.
    if (this.timeline.last !== undefined && this.timeline.last !== info.last_seq) this.#drop();
    this.#raise();
    this.#gate.advance(info.rev);
  }

  /** Unless something later was seen: these events may overtake each other, and the answers to `sync`. */
  #adoptFlags(info: Conversation): void {
    if (info.updated_at < this.#flagsAt) return;
    this.#flagsAt = info.updated_at;
    this.#takeFlags(info);
  }

  #takeFlags(info: Conversation): void {
    if (!this.info) return;
    const { is_active, archived_by_client, archived_by_owner, listing, client, owner } = info;
    this.info = { ...this.info, is_active, archived_by_client, archived_by_owner, listing, client, owner };
  }

  /** Brings the messages to where the cursors are known to be, though not when they got there. */
  #raise(): void {
    if (!this.info) return;
    const before = this.timeline.messages;
    for (const status of ["delivered", "read"] as const) {
      const cursors = this.#told.known(this.info, this.#identity.userId, status);
      for (const move of cursorMoves(this.info, cursors, status, null)) this.#held.raise(move);
    }
    this.#doubt(this.timeline.messages.find((message, index) => message !== before[index]));
  }

  #doubt(first: Message | undefined): void {
    if (first) this.#unsureFrom = Math.min(first.seq, this.#unsureFrom ?? Infinity);
  }

  /** Only the gate calls this: exactly once for each event, in order. */
  #apply(event: LogEvent): void {
    if (!this.info) return;
    this.info = { ...this.info, rev: event.payload.rev };
    switch (event.name) {
      case "message":
        this.#append(event.payload);
        break;
      case "message_updated":
      case "message_deleted":
        this.#change(event.payload);
        break;
      case "delivery_receipt":
        this.#receipt("delivered", event.payload.delivered_to, event.payload.seq, event.payload.delivered_at);
        break;
      case "read_receipt":
        this.#receipt("read", event.payload.read_by, event.payload.seq, event.payload.read_at);
        break;
    }
    this.#listener.changed();
  }

  #append(message: Message): void {
    if (!this.info) return;
    this.info = {
      ...this.info,
      last_seq: message.seq,
      last_message: message,
      last_message_at: message.created_at,
      updated_at: message.created_at,
    };
    if (message.created_at > this.#flagsAt) this.#unarchive(message.created_at);
    this.#held.take([message]);
    if (this.timeline.last !== message.seq) this.#drop();
  }

  /** A new message brings an archived conversation back. */
  #unarchive(at: string): void {
    if (!this.info) return;
    this.#flagsAt = at;
    this.info = { ...this.info, archived_by_client: false, archived_by_owner: false };
  }

  #change(message: Message): void {
    if (!this.info) return;
    const last = this.info.last_message;
    const last_message = last?.seq === message.seq ? mergeMessages(last, message) : last;
    this.info = { ...this.info, last_message, updated_at: message.updated_at };
    if (this.timeline.last !== undefined) this.#held.take([message]);
    else this.#held.note(message);
  }

  #receipt(status: ReceiptStatus, by: string, seq: number, at: string): void {
    if (!this.info) return;
    const info = { ...this.info, updated_at: at };
    this.#told.note(status, by, seq);
    if (by === this.#identity.userId) {
      if (status === "read") info.read_seq = Math.max(info.read_seq, seq);
    } else if (this.isParticipant && isParticipant(info, by)) {
      info.peer_delivered_seq = Math.max(info.peer_delivered_seq, seq);
      if (status === "read") info.peer_read_seq = Math.max(info.peer_read_seq, seq);
    }
    this.info = info;
    const cursors = this.#told.known(info, this.#identity.userId, status);
    for (const move of cursorMoves(info, cursors, status, at)) this.#move(move);
  }

  #move(move: CursorMove): void {
    this.#held.move(move);
    const last = this.info?.last_message;
    if (this.info && last) this.info = { ...this.info, last_message: moveMessage(last, move) };
  }
}
