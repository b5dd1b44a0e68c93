/** A conversation as an application shows it. */

import type { ChatError, Conversation } from "./protocol.js";
import type { ChatMessage } from "./view.js";

/** State that a conversation shows; a new object after each change, the same one otherwise. */
export interface ConversationSnapshot {
  /** Null until it is known. */
  conversation: Conversation | null;
  /**
   * By `seq` without a gap, then those on their way in the order in which they were
   * written. While `hasNewer`, a run further back.
   */
  messages: readonly ChatMessage[];
  /** True if `loadOlder` would bring more. */
  hasOlder: boolean;
  /** True if there are newer messages than these: `loadNewer` and `toNewest` bring them. */
  hasNewer: boolean;
  /** Messages are on their way, or will be as soon as there is a connection. */
  isLoading: boolean;
  /** Users who type now, without this user. */
  typingUserIds: readonly string[];
  /** Why messages could not be loaded or the conversation not be opened. */
  error: ChatError | null;
  /** Until when a rate limit holds back what was sent (ms since 1970), or null. */
  heldUntil: number | null;
  /** True while it is open, so that its messages are loaded and stay up to date. */
  isOpen: boolean;
}

/** Place that an opened conversation shows first; with nothing unread both are the same. */
export type OpenAt = "newest" | "unread";
