/**
 * The contract's server in memory: what a client's state must equal in the end.
 * Connections to it can be cut, and whatever it sends can be delayed, lost or doubled.
 */

import { ChatRequestError } from "../src/errors.js";
import type {
  ChatError, Conversation, ConversationSync, Message, MessageStatus, Position, Requests, SendMessage, ServerConfig, User,
} from "../src/protocol.js";
import type { ServerEvent, TransportFactory } from "../src/transport.js";
import { FakeSocket } from "./fake_socket.js";

export const TENANT = "11111111-1111-4111-8111-111111111111";
export const LANDLORD = "22222222-2222-4222-8222-222222222222";
export const ADMIN = "33333333-3333-4333-8333-333333333333";

/** A token as the client reads it: nobody checks the signature here. */
export function tokenFor(userId: string, exp = 4_000_000_000, mark = ""): string {
  return `e30.${btoa(JSON.stringify({ sub: userId, exp })).replaceAll("=", "")}.${mark}`;
}

interface Receipt { userId: string; status: MessageStatus; seq: number; at: string; rev: number }

interface Stored {
  conversation: Conversation;
  messages: Message[];
  receipts: Receipt[];
  cursors: Map<string, { delivered: number; read: number }>;
  changed: number;
}

/** What the network does with one thing that is sent; the default does `pass()` at once. */
export type Network = (pass: () => void, event: ServerEvent["name"] | "ack") => void;

type Failure = (event: keyof Requests, payload: unknown) => ChatError | "lose" | "lose_ack" | undefined;

export class FakeServer {
  readonly stored = new Map<string, Stored>();
  readonly sockets = new Set<FakeSocket>();
  /** Every request that reached the server. */
  readonly log: { userId: string; event: keyof Requests; payload: unknown }[] = [];
  network: Network = (pass) => { pass(); };
  fail: Failure = () => undefined;
  /** Refuses handshakes. */
  refuse: (token: string) => ChatError | undefined = () => undefined;
  isDown = false;
  /** Whether `changes` has messages that only got a receipt. */
  listsReceipts = true;
  databaseId = "db1";
  /** What `GET /config` answers; null where there is no such route. */
  config: ServerConfig | null = null;
  /** Refuses REST calls. */
  refuseRest: (path: string) => Response | undefined = () => undefined;
  #changes = 0;
  #unreadVersion = 0;
  #clock = Date.parse("2026-01-01T00:00:00Z");

  readonly transport: TransportFactory = (listener) => new FakeSocket(this, listener);

  addConversation(id: string): Stored {
    const at = this.#now();
    const conversation: Conversation = {
      id, listing_id: null, client_user_id: TENANT, owner_user_id: LANDLORD, created_at: at, updated_at: at,
      last_message_at: null, is_active: true, archived_by_client: false, archived_by_owner: false,
      last_seq: 0, rev: 0, unread_count: 0, read_seq: 0, peer_read_seq: 0, peer_delivered_seq: 0,
      listing: { id: null, title: id, price: 1, currency: "EUR" },
      client: person(TENANT), owner: person(LANDLORD), participants: [], assigned_user_id: null, last_message: null,
      peer_presence: { is_online: false, last_seen_at: null },
    };
    const cursors = new Map([TENANT, LANDLORD].map((userId) => [userId, { delivered: 0, read: 0 }]));
    const stored: Stored = { conversation, messages: [], receipts: [], cursors, changed: ++this.#changes };
    this.stored.set(id, stored);
    return stored;
  }

  /** The conversation as `userId` sees it. */
  view(id: string, userId: string): Conversation {
    const { conversation, messages, cursors } = this.#get(id);
    const last = messages.at(-1);
    const last_message = last ? this.message(last) : null;
    const nothing = { unread_count: 0, read_seq: 0, peer_read_seq: 0, peer_delivered_seq: 0, peer_presence: null };
    if (isThird(userId)) return { ...conversation, ...nothing, last_message };
    const own = cursors.get(userId) ?? { delivered: 0, read: 0 };
    const peer = cursors.get(userId === TENANT ? LANDLORD : TENANT) ?? { delivered: 0, read: 0 };
    return {
      ...conversation,
      unread_count: messages.filter((m) => m.sender_id !== userId && !m.is_deleted && m.seq > own.read).length,
      read_seq: own.read, peer_read_seq: peer.read, peer_delivered_seq: peer.delivered,
      last_message,
    };
  }

  /** All messages with their status, as `GET …/messages` would page them. */
  messages(id: string): Message[] {
    return this.#get(id).messages.map((message) => this.message(message));
  }

  message(message: Message): Message {
    const { receipts } = this.#get(message.conversation_id);
    // Of a third voice's message either may say so.
    const first = (status: MessageStatus): string | null => {
      const recipients = [TENANT, LANDLORD].filter((id) => id !== message.sender_id);
      const times = recipients.map((id) => receipts.find((r) => r.status === status && r.userId === id && r.seq >= message.seq)?.at);
      return times.filter((at) => at !== undefined).sort()[0] ?? null;
    };
    const [delivered_at, read_at] = [first("delivered"), first("read")];
    return { ...message, delivered_at, read_at, status: read_at ? "read" : delivered_at ? "delivered" : "sent" };
  }

  send(userId: string, draft: SendMessage): { message: Message; duplicate: boolean } {
    const stored = this.#get(draft.conversation_id);
    const first = stored.messages.find((m) => m.sender_id === userId && m.client_msg_id === draft.client_msg_id);
    if (draft.client_msg_id !== undefined && first) return { message: this.message(first), duplicate: true };
    const at = this.#now();
    const message: Message = {
      id: `m${this.#changes}-${draft.conversation_id}`, conversation_id: draft.conversation_id,
      seq: stored.messages.length + 1, rev: this.#touch(stored, at), sender_id: userId,
      sender_role: isThird(userId) ? "admin" : userId === TENANT ? "client" : "owner",
      sender: isThird(userId) ? person(userId) : null,
      message_type: draft.message_type ?? "text", content: draft.content ?? "", media_url: draft.media_url ?? null,
      attachment: null, status: "sent", created_at: at, updated_at: at, delivered_at: null, read_at: null,
      edited_at: null, is_deleted: false, client_msg_id: draft.client_msg_id ?? null,
      reply_to_seq: draft.reply_to_seq ?? null,
    };
    stored.messages.push(message);
    Object.assign(stored.conversation, {
      last_seq: message.seq, last_message_at: at, archived_by_client: false, archived_by_owner: false,
    });
    this.#publish({ name: "message", payload: this.message(message) });
    for (const id of [TENANT, LANDLORD]) if (id !== userId) this.#publishUnread(stored, id);
    return { message: this.message(message), duplicate: false };
  }

  change(id: string, seq: number, content: string | null): Message {
    const stored = this.#get(id);
    const message = stored.messages[seq - 1];
    if (!message) throw refusal("not_found");
    const at = this.#now();
    const rev = this.#touch(stored, at);
    Object.assign(message, content === null
      ? { is_deleted: true, content: "", updated_at: at, rev }
      : { content, edited_at: at, updated_at: at, rev });
    const payload = this.message(message);
    this.#publish({ name: content === null ? "message_deleted" : "message_updated", payload });
    if (content === null) this.#publishUnread(stored, message.sender_id === TENANT ? LANDLORD : TENANT);
    return payload;
  }

  receipt(userId: string, id: string, status: "delivered" | "read", seq: number): void {
    const stored = this.#get(id);
    const cursor = stored.cursors.get(userId);
    if (!cursor) throw refusal("forbidden");
    if (seq > stored.messages.length) throw refusal("invalid_payload");
    if (seq <= cursor[status]) return;
    const at = this.#now();
    const rev = this.#touch(stored, at);
    const common = { conversation_id: id, message_id: stored.messages[seq - 1]?.id ?? "", seq, rev };
    if (seq > cursor.delivered) stored.receipts.push({ userId, status: "delivered", seq, at, rev });
    cursor.delivered = Math.max(cursor.delivered, seq);
    if (status === "read") {
      cursor.read = seq;
      stored.receipts.push({ userId, status, seq, at, rev });
      this.#publish({ name: "read_receipt", payload: { ...common, read_by: userId, read_at: at } });
      this.#publishUnread(stored, userId);
    } else {
      this.#publish({ name: "delivery_receipt", payload: { ...common, delivered_to: userId, delivered_at: at } });
    }
  }

  archive(userId: string, id: string, archived: boolean): void {
    const stored = this.#get(id);
    stored.conversation[userId === TENANT ? "archived_by_client" : "archived_by_owner"] = archived;
    stored.conversation.updated_at = this.#now();
    stored.changed = ++this.#changes;
    this.tell(userId, { name: "conversation", payload: this.view(id, userId) });
  }

  /** To every socket of a user, through the network. */
  tell(userId: string, event: ServerEvent): void {
    for (const socket of this.sockets) {
      if (socket.userId === userId) this.network(() => { socket.hear(event); }, event.name);
    }
  }

  /** Cuts every connection, or those of one user. */
  cut(userId?: string): void {
    for (const socket of [...this.sockets]) {
      if (userId === undefined || socket.userId === userId) socket.cut("transport close");
    }
  }

  /** The database is another one, with the conversations that are added from now on. */
  replaceDatabase(): void {
    this.databaseId += "x";
    this.stored.clear();
  }

  /** A stand-in for `fetch` with the routes that the client uses. */
  readonly fetch = async (url: string, init: RequestInit): Promise<Response> => {
    await Promise.resolve();
    if (this.isDown) throw new TypeError("fetch failed");
    const { pathname, searchParams } = new URL(url);
    const refused = this.refuseRest(pathname);
    if (refused) return refused;
    if (pathname.endsWith("/config") && this.config) return Response.json(this.config);
    const [, id = "", tail] = /\/conversations\/([^/]+)\/?(\w*)/.exec(pathname) ?? [];
    if (!this.stored.has(id)) return Response.json({ code: "not_found", detail: "", retryable: false }, { status: 404 });
    if (tail === "archive") {
      const { archived } = JSON.parse(init.body as string) as { archived: boolean };
      this.archive(TENANT, id, archived);
      return Response.json({ status: "success" });
    }
    const before = Number(searchParams.get("before_seq") ?? Infinity);
    const after = Number(searchParams.get("after_seq") ?? 0);
    const limit = Number(searchParams.get("limit") ?? 50);
    const found = this.messages(id).filter(({ seq }) => seq < before && seq > after);
    const page = (searchParams.has("after_seq") ? found : found.reverse()).slice(0, limit);
    const text = JSON.stringify(page); // what the database said then; it may arrive later
    return new Promise((resolve) => { this.network(() => { resolve(new Response(text)); }, "ack"); });
  };

  answer<E extends keyof Requests>(userId: string, event: E, payload: Requests[E][0]): Requests[E][1] {
    return this.#handle(userId, { event, payload } as AnyRequest);
  }

  #handle(userId: string, { event, payload }: AnyRequest): object {
    switch (event) {
      case "join": return { conversation: this.view(payload.conversation_id, userId) };
      case "message": return this.send(userId, payload);
      case "edit": return { message: this.#changeById(payload.message_id, payload.content) };
      case "delete": return (this.#changeById(payload.message_id, null), {});
      case "delivered": return (this.receipt(userId, payload.conversation_id, "delivered", payload.seq), {});
      case "read": {
        if ("message_id" in payload) throw refusal("invalid_payload");
        this.receipt(userId, payload.conversation_id, "read", payload.seq);
        return { unread_count: this.view(payload.conversation_id, userId).unread_count };
      }
      case "sync": return this.sync(userId, payload);
      case "authenticate": return { expires_at: this.#now() };
      case "typing":
      case "leave": return {};
    }
  }

  sync(userId: string, { cursor, limit = 100, open = {} }: Requests["sync"][0]): Requests["sync"][1] {
    const [databaseId, position = "0"] = (cursor ?? `${this.databaseId}:0`).split(":");
    if (databaseId !== this.databaseId) return { cursor: `${this.databaseId}:0`, reset: true, has_more: false, conversations: [], removed: [] };
    const changed = [...this.stored.values()].filter((s) => s.changed > Number(position)).sort((a, b) => a.changed - b.changed);
    const page = changed.slice(0, limit);
    const ids = new Set([...page.map((s) => s.conversation.id), ...Object.keys(open)].filter((id) => this.stored.has(id)));
    const upTo = changed.length > limit ? page.at(-1)?.changed ?? 0 : this.#changes;
    return structuredClone({
      cursor: `${this.databaseId}:${upTo}`, reset: false, has_more: changed.length > limit, removed: [],
      conversations: [...ids].map((id) => this.#syncView(id, userId, open[id])),
    });
  }

  #syncView(id: string, userId: string, position: Position | undefined): ConversationSync {
    if (!position) return this.view(id, userId);
    const changes = this.messages(id).filter(
      (m) => m.seq > position.seq || m.rev > position.rev || (this.listsReceipts && this.#wasReceived(m, position.rev)),
    );
    if (changes.length > 100) return { ...this.view(id, userId), changes: changes.slice(-100), limited: true };
    return { ...this.view(id, userId), changes };
  }

  /** Whether a receipt after `rev` was the first to reach the message. */
  #wasReceived(message: Message, rev: number): boolean {
    return (["delivered", "read"] as const).some((status) => {
      const first = this.#get(message.conversation_id).receipts.find(
        (r) => r.status === status && r.userId !== message.sender_id && r.seq >= message.seq,
      );
      return first !== undefined && first.rev > rev;
    });
  }

  #changeById(messageId: string, content: string | null): Message {
    const message = [...this.stored.values()].flatMap((s) => s.messages).find((m) => m.id === messageId);
    if (!message) throw refusal("not_found");
    return this.change(message.conversation_id, message.seq, content);
  }

  #get(id: string): Stored {
    const stored = this.stored.get(id);
    if (!stored) throw refusal("not_found");
    return stored;
  }

  #touch(stored: Stored, at: string): number {
    stored.changed = ++this.#changes;
    stored.conversation.updated_at = at;
    return ++stored.conversation.rev;
  }

  #now(): string {
    this.#clock += 1000;
    return new Date(this.#clock).toISOString();
  }

  /** To both participants, and to a third voice that is there. */
  #publish(event: ServerEvent): void {
    for (const userId of new Set([...this.sockets].map((socket) => socket.userId))) this.tell(userId, event);
  }

  #publishUnread(stored: Stored, userId: string): void {
    const { unread_count } = this.view(stored.conversation.id, userId);
    const total = [...this.stored.keys()].reduce((sum, id) => sum + this.view(id, userId).unread_count, 0);
    const counts = { unread_count, total_unread_count: total, version: ++this.#unreadVersion };
    const payload = { conversation_id: stored.conversation.id, ...counts };
    this.tell(userId, { name: "unread", payload });
  }
}

function isThird(userId: string): boolean {
  return userId !== TENANT && userId !== LANDLORD;
}

function person(id: string): User {
  return { id, first_name: id.slice(0, 1), last_name: null, profile_picture_url: null };
}

type AnyRequest = { [E in keyof Requests]: { event: E; payload: Requests[E][0] } }[keyof Requests];

/** An error as the server would answer it. */
export function refusal(code: string, retryable = false, retry_after?: number): ChatRequestError {
  return new ChatRequestError({ code, detail: code, retryable, ...(retry_after === undefined ? {} : { retry_after }) });
}
