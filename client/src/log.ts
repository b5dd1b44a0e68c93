/** What this device knows of one conversation, built from snapshots and events; no input or output. */

import { RevGate } from "./gate.js";
import type { Identity } from "./identity.js";
import type { Conversation, ConversationSync, Message, Position } from "./protocol.js";
import {
  cursorMoves, mergeMessages, moveMessage, Timeline, type CursorMove, type Cursors,
} from "./timeline.js";
import type { ServerEvent } from "./transport.js";

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

/** What happened while a page was being fetched; it is newer than the page, or as new. */
export interface Recording {
  messages: Message[];
  moves: CursorMove[];
  /** The window was dropped meanwhile: the page may not fit any more. */
  isVoid: boolean;
}

/** Counts requests and answers, to tell whether something happened after a request was sent. */
export type Tick = number;

/**
 * Equal to the server's state at revision `rev`, for the messages it holds: the
 * gapless window that ends with the newest one, and may be empty.
 */
export class ConversationLog {
  info: Conversation | undefined;
  readonly timeline = new Timeline();
  readonly #identity: Identity;
  readonly #listener: LogListener;
  readonly #gate: RevGate<LogEvent["payload"] & { event: LogEvent }>;
  readonly #recordings = new Set<Recording>();
  /** The server's time of what the flags were taken from: no `rev` orders them. */
  #flagsAt = "";
  #unreadTick: Tick = -1;
  #ownDeliveredSeq = 0;
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

  get rev(): number | undefined {
    return this.#gate.rev;
  }

  /** What to ask `sync` with; undefined while there is no message that could be out of date. */
  get position(): Position | undefined {
    const { last } = this.timeline;
    return last === undefined || this.rev === undefined ? undefined : { seq: last, rev: this.rev };
  }

  /**
   * Messages of the other side that were not read: counted where all are held, else
   * the server's word. `readSeq` is read already, though the server may not know yet.
   */
  unreadCount(readSeq = 0): number {
    const { info } = this;
    if (!info) return 0;
    const read = Math.max(readSeq, info.read_seq);
    if (this.timeline.first !== undefined && this.timeline.first <= read + 1) {
      return this.timeline.messages.filter((m) => m.seq > read && this.#countsAsUnread(m)).length;
    }
    return Math.max(0, Math.min(info.unread_count, info.last_seq - read));
  }

  /** Whether the counter cannot be right: `unread` events may overtake each other. */
  get isDoubtful(): boolean {
    const last = this.info?.last_message;
    if (!this.info || !last) return false;
    return this.unreadCount() === 0 && last.seq > this.info.read_seq && this.#countsAsUnread(last);
  }

  /**
   * From this `seq` on, receipts were missed: the cursors tell how far a message has
   * come, but not when. Fetching those messages again tells it; see `settle`.
   */
  get unsureFrom(): number | undefined {
    return this.#unsureFrom;
  }

  /** How often events were skipped because a snapshot came instead. */
  get jumps(): number {
    return this.#jumps;
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
    if (this.timeline.last !== undefined) this.#take(changes ?? []);
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
    const recording: Recording = { messages: [], moves: [], isVoid: false };
    this.#recordings.add(recording);
    return recording;
  }

  /** Takes a page of history, or not: false when it does not fit (any more). */
  mergePage(page: readonly Message[], recording: Recording): boolean {
    this.#recordings.delete(recording);
    const known = this.info?.last_seq ?? 0;
    const usable = page.filter((message) => message.seq <= known);
    for (const { rev } of page) this.hint(rev);
    if (recording.isVoid || !this.#reachesEnd(usable) || !this.timeline.merge(usable)) return false;
    for (const message of recording.messages) this.timeline.put(message);
    for (const move of recording.moves) this.timeline.move(move);
    this.#raise();
    this.#listener.changed();
    return true;
  }

  /** Stops a recording whose page never came. */
  discard(recording: Recording): void {
    this.#recordings.delete(recording);
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
    this.#ownDeliveredSeq = 0;
    this.#listener.changed();
  }

  /** A first page has to end with the newest message, or the window would. */
  #reachesEnd(page: readonly Message[]): boolean {
    const last = Math.max(this.timeline.last ?? 0, ...page.map((message) => message.seq));
    return last === (this.info?.last_seq ?? 0);
  }

  #countsAsUnread(message: Message): boolean {
    return message.sender_id !== this.#identity.userId && !message.is_deleted;
  }

  #drop(): void {
    this.timeline.clear();
    this.#unsureFrom = undefined;
    for (const recording of this.#recordings) recording.isVoid = true;
  }

  #take(messages: readonly Message[]): void {
    for (const message of messages) {
      this.timeline.put(message);
      for (const recording of this.#recordings) recording.messages.push(message);
    }
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
      for (const move of cursorMoves(this.info, this.#cursors(status), status, null)) this.timeline.move(move);
    }
    this.#doubt(this.timeline.messages.find((message, index) => message !== before[index]));
  }

  #doubt(first: Message | undefined): void {
    if (first) this.#unsureFrom = Math.min(first.seq, this.#unsureFrom ?? Infinity);
  }

  #cursors(status: "delivered" | "read"): Cursors {
    const { read_seq = 0, peer_read_seq = 0, peer_delivered_seq = 0 } = this.info ?? {};
    if (status === "read") return { own: read_seq, peer: peer_read_seq, userId: this.#identity.userId };
    return { own: Math.max(this.#ownDeliveredSeq, read_seq), peer: peer_delivered_seq, userId: this.#identity.userId };
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
    this.#take([message]);
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
    if (this.timeline.last !== undefined) this.#take([message]);
    else for (const recording of this.#recordings) recording.messages.push(message);
  }

  #receipt(status: "delivered" | "read", by: string, seq: number, at: string): void {
    if (!this.info) return;
    const info = { ...this.info, updated_at: at };
    if (by === this.#identity.userId) {
      this.#ownDeliveredSeq = Math.max(this.#ownDeliveredSeq, seq);
      if (status === "read") info.read_seq = Math.max(info.read_seq, seq);
    } else {
      info.peer_delivered_seq = Math.max(info.peer_delivered_seq, seq);
      if (status === "read") info.peer_read_seq = Math.max(info.peer_read_seq, seq);
    }
    this.info = info;
    for (const move of cursorMoves(info, this.#cursors(status), status, at)) this.#move(move);
  }

  #move(move: CursorMove): void {
    this.timeline.move(move);
    for (const recording of this.#recordings) recording.moves.push(move);
    const last = this.info?.last_message;
    if (this.info && last) this.info = { ...this.info, last_message: moveMessage(last, move) };
  }
}
