/**
 * Every object and event of the wire, in one file.
 *
 * Names and fields are the server's own; a test of the server compares these
 * interfaces with its schemas, so that the two cannot drift. Times are RFC 3339
 * in UTC with microseconds, ids are UUIDs. Nothing here exists at run time.
 */

/** Type of a message; `system` messages come from the host application. */
export type MessageType = "text" | "image" | "document" | "system";

/** Role of a message's sender in its conversation; `service` and `admin` take no part. */
export type SenderRole = "client" | "co_client" | "owner" | "agent" | "service" | "admin";

/** Role of a member of a conversation; an observer writes nothing. */
export type MemberRole = "client" | "co_client" | "owner" | "agent" | "observer";

/** Progress of a message with its recipient. */
export type MessageStatus = "sent" | "delivered" | "read";

/** A file of a conversation; `width` and `height` are pixels, `size` is bytes. */
export interface Attachment {
  id: string;
  conversation_id: string;
  file_name: string;
  content_type: string;
  size: number;
  width: number | null;
  height: number | null;
  url: string;
  thumbnail_url: string | null;
}

/** One message; a deleted one stays as a tombstone with empty content. */
export interface Message {
  id: string;
  conversation_id: string;
  /** Its number in the conversation: 1, 2, 3 … without a gap. */
  seq: number;
  /** The conversation's revision that last changed this row. */
  rev: number;
  sender_id: string;
  sender_role: SenderRole;
  /** Null for the client and the owner, whose names the conversation has. */
  sender: User | null;
  message_type: MessageType;
  content: string;
  media_url: string | null;
  attachment: Attachment | null;
  status: MessageStatus;
  created_at: string;
  updated_at: string;
  delivered_at: string | null;
  read_at: string | null;
  edited_at: string | null;
  is_deleted: boolean;
  client_msg_id: string | null;
  reply_to_seq: number | null;
}

/** Subject of a conversation, as it was when the listing still existed. */
export interface Listing {
  id: string | null;
  title: string | null;
  price: number | null;
  currency: string | null;
}

/** A user, as far as the host application tells. */
export interface User {
  id: string;
  first_name: string | null;
  last_name: string | null;
  profile_picture_url: string | null;
}

/** Member of a conversation; nothing up to `joined_seq` is unread to them. */
export interface Participant {
  user_id: string;
  role: MemberRole;
  first_name: string | null;
  last_name: string | null;
  profile_picture_url: string | null;
  delivered_seq: number;
  read_seq: number;
  joined_seq: number;
  joined_at: string;
}

/** Presence of anyone of the other side. */
export interface PeerPresence {
  is_online: boolean;
  last_seen_at: string | null;
}

/** A conversation as the caller sees it: `unread_count` and `read_seq` are the caller's own. */
export interface Conversation {
  id: string;
  listing_id: string | null;
  client_user_id: string;
  owner_user_id: string;
  created_at: string;
  updated_at: string;
  last_message_at: string | null;
  is_active: boolean;
  archived_by_client: boolean;
  archived_by_owner: boolean;
  last_seq: number;
  /** Counts the changes: every message, edit, delete and receipt takes the next one. */
  rev: number;
  unread_count: number;
  read_seq: number;
  peer_read_seq: number;
  peer_delivered_seq: number;
  listing: Listing;
  client: User;
  owner: User;
  /** Client and owner first. */
  participants: Participant[];
  /** Agent of the owner's side who answers. */
  assigned_user_id: string | null;
  last_message: Message | null;
  peer_presence: PeerPresence | null;
}

/** `GET /api/chat/config`: what the server lets a client send; seconds, characters, bytes. */
export interface ServerConfig {
  max_length: number;
  edit_window: number;
  max_packet_bytes: number;
}

/** The codes of errors; a newer server may know more. */
export type ErrorCode =
  | "unauthorized"
  | "token_expired"
  | "forbidden"
  | "blocked"
  | "not_found"
  | "own_listing"
  | "idempotency_conflict"
  | "too_many_participants"
  | "payload_too_large"
  | "unsupported_media"
  | "invalid_payload"
  | "content_rejected"
  | "rate_limited"
  | "unknown_event"
  | "internal_error"
  | "unavailable";

/** The error object of an acknowledgement, of `connect_error.data` and of an `error` event. */
export interface ChatError {
  code: string;
  detail: string;
  /** True if the same request may succeed later. */
  retryable: boolean;
  /** Seconds. */
  retry_after?: number;
  /** Problems of each bad field. */
  fields?: Record<string, string[]>;
}

/** Position of a device in one conversation. */
export interface Position {
  seq: number;
  rev: number;
}

/** A conversation in an answer to `sync`. */
export interface ConversationSync extends Conversation {
  /**
   * For a conversation asked for under `open`: the messages that are new since
   * the given `seq` or changed since the given `rev` (by an edit, a delete or a
   * receipt), by ascending `seq`. Empty when nothing happened; absent when it was
   * not asked for.
   */
  changes?: Message[];
  /** There were too many changes to list: page the history instead. */
  limited?: boolean;
}

export interface ConversationRef {
  conversation_id: string;
}

export interface SendMessage extends ConversationRef {
  /** Empty only beside an attachment or a `media_url`. */
  content?: string;
  message_type?: MessageType;
  attachment_id?: string;
  media_url?: string;
  client_msg_id?: string;
  reply_to_seq?: number;
}

export interface EditMessage {
  message_id: string;
  content: string;
}

export interface DeleteMessage {
  message_id: string;
}

export interface TypingState extends ConversationRef {
  is_typing: boolean;
}

export interface Delivered extends ConversationRef {
  seq: number;
}

export type Read = { message_id: string } | Delivered;

export interface SyncRequest {
  cursor?: string;
  limit?: number;
  open?: Record<string, Position>;
}

export interface Authenticate {
  token: string;
}

export interface JoinAnswer {
  conversation: Conversation;
}

export interface MessageAnswer {
  message: Message;
}

export interface SendAnswer extends MessageAnswer {
  /** The same `client_msg_id` was stored before; `message` is that first one. */
  duplicate: boolean;
}

export interface ReadAnswer {
  unread_count: number;
}

export interface SyncAnswer {
  /** Give it back next time; it never expires. */
  cursor: string;
  /** The cursor was not from this database: drop everything and start anew. */
  reset: boolean;
  /** Ask again at once, with the new cursor. */
  has_more: boolean;
  conversations: ConversationSync[];
  /** Conversations that the caller is no longer in: drop them. */
  removed: string[];
}

export interface AuthenticateAnswer {
  expires_at: string;
}

/** `{ok: true}` and what the acknowledgement adds. */
export type Ok<T> = { ok: true } & T;

export interface Failed {
  ok: false;
  error: ChatError;
}

/** Every client event is answered by one of these. */
export type Ack<T> = Ok<T> | Failed;

/** Client → server: each event with its payload and what its acknowledgement adds. */
export interface Requests {
  join: [ConversationRef, JoinAnswer];
  leave: [ConversationRef, object];
  message: [SendMessage, SendAnswer];
  edit: [EditMessage, MessageAnswer];
  delete: [DeleteMessage, object];
  typing: [TypingState, object];
  delivered: [Delivered, object];
  read: [Read, ReadAnswer];
  sync: [SyncRequest, SyncAnswer];
  authenticate: [Authenticate, AuthenticateAnswer];
}

/** Someone types, or stopped; sent to the room but not to the one who types. */
export interface TypingEvent extends ConversationRef {
  user_id: string;
  is_typing: boolean;
  timestamp: string;
}

/** A user came online or went. */
export interface PresenceEvent {
  user_id: string;
  is_online: boolean;
  last_seen_at: string | null;
  timestamp: string;
}

/** A device of `delivered_to` holds everything up to `seq`. */
export interface DeliveryReceipt extends ConversationRef {
  message_id: string;
  seq: number;
  delivered_to: string;
  delivered_at: string;
  rev: number;
}

/** `read_by` has read everything up to `seq`; it says that it was delivered too. */
export interface ReadReceipt extends ConversationRef {
  message_id: string;
  seq: number;
  read_by: string;
  read_at: string;
  rev: number;
}

/** The caller's own counters, to each of their devices. `version` grows with each change. */
export interface UnreadEvent extends ConversationRef {
  unread_count: number;
  total_unread_count: number;
  version: number;
}

/** A hint that something may have been missed. */
export interface HeadEvent extends ConversationRef {
  last_seq: number;
  rev: number;
}

/** Notice of the host application or an operator to everybody, or some users; best effort. */
export interface NoticeEvent {
  content: string;
  /** For programs: whatever its sender put there. */
  data: Record<string, unknown> | null;
  timestamp: string;
}

/** Server → client: each event with its payload. */
export interface Events {
  message: Message;
  message_updated: Message;
  message_deleted: Message;
  conversation: Conversation;
  typing: TypingEvent;
  presence: PresenceEvent;
  delivery_receipt: DeliveryReceipt;
  read_receipt: ReadReceipt;
  unread: UnreadEvent;
  head: HeadEvent;
  notice: NoticeEvent;
  error: ChatError;
}

/** `Requests` as socket.io-client wants it. */
export type ClientToServerEvents = {
  [E in keyof Requests]: (payload: Requests[E][0], ack: (answer: Ack<Requests[E][1]>) => void) => void;
};

/** `Events` as socket.io-client wants it. */
export type ServerToClientEvents = {
  [E in keyof Events]: (payload: Events[E]) => void;
};
