/** Short ways to make clients for tests and to compare them with the server. */

import { expect, vi } from "vitest";

import { ChatClient, type ChatClientOptions } from "../src/client.js";
import { FakeServer, LANDLORD, TENANT, tokenFor } from "./fake_server.js";
import { memoryOutbox } from "../src/storage/memory.js";

export const URL = "http://chat.test";

export function makeClient(server: FakeServer, userId = TENANT, options: Partial<ChatClientOptions> = {}): ChatClient {
  return new ChatClient({
    url: URL,
    token: tokenFor(userId),
    storage: memoryOutbox(),
    transport: server.transport,
    fetch: server.fetch,
    ...options,
  });
}

/** Lets everything happen that happens within `ms`; needs fake timers. */
export async function pass(ms = 1_000): Promise<void> {
  await vi.advanceTimersByTimeAsync(ms);
}

/** The texts on a screen. */
export function texts(client: ChatClient, id: string): string[] {
  return client.conversation(id).getSnapshot().messages.map(({ content }) => content);
}

/** What the client shows of a conversation is what a fresh fetch would show. */
export function expectEqualToServer(client: ChatClient, server: FakeServer, id: string): void {
  const userId = client.userId ?? "";
  const { log } = client.conversation(id);
  // Presence is best effort and no part of the sequence.
  const presence = { peer_presence: null };
  expect({ ...log.info, unread_count: log.unreadCount(), ...presence }).toEqual({ ...server.view(id, userId), ...presence });
  expect(log.timeline.messages).toEqual(server.messages(id).slice(-log.timeline.messages.length || Infinity));
}

export { FakeServer, LANDLORD, TENANT };
