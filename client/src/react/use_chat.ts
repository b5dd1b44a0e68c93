/** `useChat`: one conversation on a screen. */

import { useEffect, useMemo, useSyncExternalStore } from "react";

import type { ChatClient } from "../client.js";
import type { ConnectionState } from "../connection.js";
import type { Draft } from "../outbox.js";
import type { ConversationSnapshot, OpenAt } from "../snapshot.js";
import { useMaybeChatClient } from "./provider.js";
import { sharedClient, acquireSharedClient } from "./shared.js";

export interface UseChatOptions {
  /** The chat server's origin, when a token is given; the page's own by default. */
  url?: string;
  /** Place that is shown first; the newest messages by default. */
  openAt?: OpenAt;
}

/** Result of `useChat`; the functions stay the same as long as the conversation does. */
export interface Chat extends ConversationSnapshot {
  isConnected: boolean;
  connection: ConnectionState;
  /** Sends a text, or a draft with an attachment or a reply; answers the message's key. Works offline. */
  sendMessage: (draft: string | Draft) => string;
  /** Sends a `failed` message again, by its key. */
  retry: (key: string) => void;
  /** Throws a `failed` message away, by its key. */
  discard: (key: string) => void;
  /** Replaces the text of an own message, by its id; rejects with a `ChatRequestError`. */
  edit: (messageId: string, content: string) => Promise<void>;
  /** Deletes an own message, by its id; rejects with a `ChatRequestError`. */
  remove: (messageId: string) => Promise<void>;
  /** One page into the past. */
  loadOlder: () => Promise<void>;
  /** One page towards the newest messages, while `hasNewer`. */
  loadNewer: () => Promise<void>;
  /** Shows the newest messages. */
  toNewest: () => void;
  /** Shows the first unread message and what stands around it. */
  toUnread: () => void;
  /** Everything up to `seq`, or all that is there, was read. */
  markRead: (seq?: number) => void;
  /** Call it with `true` on each key; it ends by itself after 3 s. */
  setTyping: (isTyping: boolean) => void;
}

/**
 * The live state of a conversation and what can be done in it. Inside a
 * `<ChatProvider>` it uses that client; elsewhere the `token` names the user, and
 * hooks of the same user share one connection.
 */
export function useChat(conversationId: string, token?: string, options: UseChatOptions = {}): Chat {
  const client = useClient(token, options.url);
  const conversation = client.conversation(conversationId);
  const { openAt } = options;
  useEffect(() => conversation.open(openAt), [conversation, openAt]);

  const snapshot = useSyncExternalStore(conversation.subscribe, conversation.getSnapshot, conversation.getSnapshot);
  const connection = useSyncExternalStore(
    client.connection.subscribe, client.connection.getSnapshot, client.connection.getSnapshot,
  );
  const actions = useMemo(() => ({
    sendMessage: (draft: string | Draft) => conversation.send(draft),
    retry: (key: string) => { conversation.retry(key); },
    discard: (key: string) => { conversation.discard(key); },
    edit: (messageId: string, content: string) => conversation.edit(messageId, content),
    remove: (messageId: string) => conversation.delete(messageId),
    loadOlder: () => conversation.loadOlder(),
    loadNewer: () => conversation.loadNewer(),
    toNewest: () => { conversation.toNewest(); },
    toUnread: () => { conversation.toUnread(); },
    markRead: (seq?: number) => { conversation.markRead(seq); },
    setTyping: (isTyping: boolean) => { conversation.setTyping(isTyping); },
  }), [conversation]);
  return { ...snapshot, ...actions, connection, isConnected: connection.status === "online" };
}

function useClient(token: string | undefined, url: string | undefined): ChatClient {
  const provided = useMaybeChatClient();
  const origin = url ?? (typeof location === "undefined" ? "" : location.origin);
  const needed = provided ? undefined : token;
  useEffect(
    () => (needed === undefined ? undefined : acquireSharedClient(origin, needed)),
    [origin, needed],
  );
  if (provided) return provided;
  if (token === undefined) throw new Error("useChat needs a token or a <ChatProvider>.");
  return sharedClient(origin, token);
}
