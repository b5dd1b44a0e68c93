/** Hooks for what is around a conversation: the list, the counter, the connection. */

import { useCallback, useEffect, useSyncExternalStore } from "react";

import type { ConnectionState } from "../connection.js";
import type { ConversationsSnapshot } from "../conversations.js";
import type { Store } from "../observable.js";
import type { ServerConfig } from "../protocol.js";
import { useChatClient } from "./provider.js";

export interface UseConversationsOptions {
  /** For how many, from the top, presence and typing are live; 20 by default. */
  live?: number;
}

/** All conversations, archived ones too (`isArchived`), latest activity first. */
export function useConversations({ live = 20 }: UseConversationsOptions = {}): ConversationsSnapshot {
  const { conversations } = useChatClient();
  useEffect(() => conversations.watch(live), [conversations, live]);
  return useStore(conversations);
}

/** Unread messages in all conversations: for a badge. */
export function useUnreadCount(): number {
  const { conversations } = useChatClient();
  const read = useCallback(() => conversations.getSnapshot().unreadCount, [conversations]);
  return useSyncExternalStore(conversations.subscribe, read, read);
}

/** State of the connection, and why there is none: for an offline banner. */
export function useConnection(): ConnectionState {
  return useStore(useChatClient().connection);
}

/** The server's limits: how long a text may be, how long it may be edited. */
export function useServerConfig(): ServerConfig {
  return useStore(useChatClient().config);
}

function useStore<T>({ subscribe, getSnapshot }: Store<T>): T {
  return useSyncExternalStore(subscribe, getSnapshot, getSnapshot);
}
