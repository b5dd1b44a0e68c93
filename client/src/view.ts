/** Messages as an application shows them: stored and waiting ones in one shape. */

import type { Identity } from "./identity.js";
import type { OutboxEntry } from "./outbox.js";
import type { Attachment, ChatError, Message, MessageType, SenderRole, User } from "./protocol.js";

/** `sending` and `failed` exist only on the device that wrote the message. */
export type MessageState = "sending" | "sent" | "delivered" | "read" | "failed";

/** One message of a conversation, stored or on its way. */
export interface ChatMessage {
  /** The same from "sending" to "read": use it as React's `key`, and for `retry` and `discard`. */
  key: string;
  /** Null until the server has stored it. */
  id: string | null;
  seq: number | null;
  conversation_id: string;
  sender_id: string;
  /** Role of its sender in the conversation; null until the server has stored it. */
  sender_role: SenderRole | null;
  /** User behind a third voice (`service`, `admin`); null for participants. */
  sender: User | null;
  message_type: MessageType;
  /** Plain text, empty once it is deleted; never put it into a page as HTML. */
  content: string;
  media_url: string | null;
  attachment: Attachment | null;
  reply_to_seq: number | null;
  created_at: string;
  edited_at: string | null;
  delivered_at: string | null;
  read_at: string | null;
  is_deleted: boolean;
  isOwn: boolean;
  state: MessageState;
  /** Why it is `failed`. */
  error: ChatError | null;
}

/** Makes views, and the same view again for the same object, so that lists render cheaply. */
export class Views {
  readonly #cache = new WeakMap<object, ChatMessage>();
  readonly #identity: Identity;

  constructor(identity: Identity) {
    this.#identity = identity;
  }

  /** A message that the server has stored. */
  stored(message: Message): ChatMessage {
    return this.#once(message, () => {
      const isOwn = message.sender_id === this.#identity.userId;
      return {
        key: (isOwn ? message.client_msg_id : null) ?? message.id,
        id: message.id,
        seq: message.seq,
        conversation_id: message.conversation_id,
        sender_id: message.sender_id,
        sender_role: message.sender_role,
        sender: message.sender,
        message_type: message.message_type,
        content: message.content,
        media_url: message.media_url,
        attachment: message.attachment,
        reply_to_seq: message.reply_to_seq,
        created_at: message.created_at,
        edited_at: message.edited_at,
        delivered_at: message.delivered_at,
        read_at: message.read_at,
        is_deleted: message.is_deleted,
        isOwn,
        state: message.status,
        error: null,
      };
    });
  }

  /** A message that waits in the outbox. */
  waiting(entry: OutboxEntry): ChatMessage {
    return this.#once(entry, () => ({
      key: entry.client_msg_id,
      id: null,
      seq: null,
      conversation_id: entry.conversation_id,
      sender_id: this.#identity.userId,
      sender_role: null,
      sender: null,
      message_type: entry.message_type ?? "text",
      content: entry.content,
      media_url: entry.media_url ?? null,
      attachment: entry.attachment ?? null,
      reply_to_seq: entry.reply_to_seq ?? null,
      created_at: entry.created_at,
      edited_at: null,
      delivered_at: null,
      read_at: null,
      is_deleted: false,
      isOwn: true,
      state: entry.state === "failed" ? "failed" : "sending",
      error: entry.error,
    }));
  }

  #once(source: object, make: () => ChatMessage): ChatMessage {
    let view = this.#cache.get(source);
    if (!view) this.#cache.set(source, (view = make()));
    return view;
  }
}
