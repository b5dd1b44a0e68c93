/** What the page's tests share: messages, a chat, and the page's words around a component. */

import type { ChatMessage, Conversation, User } from "chatserver-client";
import type { Chat } from "chatserver-client/react";
import { cleanup, render, type RenderResult } from "@testing-library/react";
import type { ReactElement } from "react";
import { afterEach, vi } from "vitest";

import { es } from "../src/i18n/es";
import { createFormats } from "../src/i18n/formats";
import { peopleOf, type People } from "../src/people";
import { PreferencesProvider } from "../src/preferences";

afterEach(cleanup);

/** A message of the other person, read by nobody; `seq` also names it. */
export function message(seq: number, changes: Partial<ChatMessage> = {}): ChatMessage {
  return {
    key: `key-${seq}`, id: `id-${seq}`, seq, conversation_id: "c", sender_id: "peer", sender_role: "owner", sender: null, message_type: "text",
    content: `text ${seq}`, media_url: null, attachment: null, reply_to_seq: null,
    created_at: "2026-03-10T12:00:00.000000Z", edited_at: null, delivered_at: null, read_at: null,
    is_deleted: false, isOwn: false, state: "sent", error: null, ...changes,
  };
}

export function chat(messages: ChatMessage[], conversation: Partial<Conversation> = {}): Chat {
  return {
    conversation: { last_seq: messages.length, unread_count: 0, read_seq: messages.length, ...conversation } as Conversation,
    messages, hasOlder: false, hasNewer: false, isLoading: false, heldUntil: null, isOpen: true, typingUserIds: [], error: null, isConnected: true,
    connection: { status: "online", reason: null, error: null, retryAt: null },
    sendMessage: vi.fn(() => "key"), retry: vi.fn(), discard: vi.fn(), edit: vi.fn(), remove: vi.fn(),
    loadOlder: vi.fn(), loadNewer: vi.fn(), toNewest: vi.fn(), toUnread: vi.fn(), markRead: vi.fn(), setTyping: vi.fn(),
  };
}

export const TENANT: User = { id: "me", first_name: "Lucía", last_name: "Fernández", profile_picture_url: null };
export const LANDLORD: User = { id: "peer", first_name: "Javier", last_name: "Moreno", profile_picture_url: null };
export const ADMIN: User = { id: "admin", first_name: "Álvaro", last_name: "Castro", profile_picture_url: null };

/** The people of a conversation between these two, as one of them or a third voice sees it. */
export function people(isParticipant = true, peer = LANDLORD, client = TENANT): People {
  const pair = { client, owner: LANDLORD, client_user_id: "me", owner_user_id: "peer", peer, isParticipant };
  return peopleOf(pair, es, createFormats("es-ES").list);
}

/** Renders in Spanish. */
export function renderPage(element: ReactElement): RenderResult {
  localStorage.setItem("chatserver:language", "es");
  return render(element, { wrapper: PreferencesProvider });
}
