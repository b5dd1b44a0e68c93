/** People of a conversation, as the reader sees them: the other, both, and third voices. */

import type { ChatMessage, ConversationItem, Message, SenderRole, User } from "chatserver-client";

import type { Dictionary } from "./i18n/es";
import { fullName } from "./ui/avatar";
import { isolated } from "./ui/plain";

/** Author of a message. */
export interface Author {
  name: string;
  /** In the reader's words; null where the name says it all. */
  role: string | null;
  /** Neither of the two whom the conversation is between. */
  isThird: boolean;
}

/** Fields of a message about its sender. */
type Sent = Pick<Message | ChatMessage, "sender_id" | "sender_role" | "sender">;

export interface People {
  /** The other's name; for somebody who takes no part both names. */
  title: string;
  /** One person, or both where the reader is neither. */
  shown: readonly User[];
  isParticipant: boolean;
  author: (message: Sent) => Author;
  /** The names of those who type; a third voice that has not written is somebody. */
  typing: (userIds: readonly string[], messages: readonly ChatMessage[]) => string;
}

type Pair = Pick<ConversationItem, "client" | "owner" | "client_user_id" | "owner_user_id" | "peer" | "isParticipant">;

export function peopleOf(item: Pair, t: Dictionary, list: (names: readonly string[]) => string): People {
  const { client, owner, peer, isParticipant } = item;
  const known = new Map([[item.client_user_id, client], [item.owner_user_id, owner]]);
  const roleOf = (role: SenderRole | null): string | null => (role === null ? null : t.roles[role] ?? t.unknownRole);
  const nameOf = (user: User | null | undefined): string | null => (user ? fullName(user) : null);
  const author: People["author"] = ({ sender_id, sender_role, sender }) => {
    const user = known.get(sender_id);
    if (user) {
      // To the two of them it is clear who is who.
      return { name: nameOf(user) ?? t.unknownUser, role: isParticipant ? null : roleOf(sender_role), isThird: false };
    }
    const name = nameOf(sender);
    const role = roleOf(sender_role) ?? t.unknownRole;
    return name === null ? { name: role, role: null, isThird: true } : { name, role, isThird: true };
  };
  const shown = isParticipant ? [peer] : [client, owner];
  return {
    title: list(shown.map((user) => nameOf(user) ?? t.unknownUser)),
    shown,
    isParticipant,
    author,
    typing: (userIds, messages) => {
      const names = userIds.map((id) => {
        const written = messages.findLast((message) => message.sender_id === id);
        return nameOf(known.get(id)) ?? (written ? author(written).name : t.somebody);
      });
      return list([...new Set(names)].map(isolated));
    },
  };
}

/** The third voices among these messages but the reader's own, each once, the latest last. */
export function thirdVoices(messages: readonly Sent[], people: People, ownId: string | null): Author[] {
  const voices = new Map<string, Author>();
  for (const message of messages) {
    const author = people.author(message);
    if (author.isThird && message.sender_id !== ownId) voices.set(message.sender_id, author);
  }
  return [...voices.values()];
}
