/**
 * Two people on the real server. `tests/system/client/test_real_server.py` starts one for it;
 * by hand: `CHAT_DEV_JSON=../.data/dev.json npm test` after `make run`.
 */

import { readFileSync } from "node:fs";

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { ChatClient } from "../src/client.js";
import type { LiveConversation } from "../src/conversation.js";
import type { Message } from "../src/protocol.js";
import type { ConversationSnapshot } from "../src/snapshot.js";
import { memoryOutbox } from "../src/storage/memory.js";

interface Dev { base_url: string; conversation_id: string; tokens: Record<string, string> }

const path = process.env.CHAT_DEV_JSON;
const dev = path === undefined ? undefined : (JSON.parse(readFileSync(path, "utf8")) as Dev);

describe.skipIf(!dev)("on the real server", { timeout: 240_000 }, () => {
  const { base_url, conversation_id, tokens } = dev ?? { base_url: "", conversation_id: "", tokens: {} };
  const [tenantToken = "", landlordToken = ""] = Object.values(tokens);
  const clients: ChatClient[] = [];
  let tenant: LiveConversation;
  let landlord: LiveConversation;

  function join(token: string, storage = memoryOutbox()): ChatClient {
    const client = new ChatClient({ url: base_url, token, storage });
    client.connect();
    clients.push(client);
    return client;
  }
  const until = (check: () => void | Promise<void>): Promise<void> => vi.waitFor(check, { timeout: 60_000, interval: 20 });
  const last = ({ messages }: ConversationSnapshot, count: number): unknown[] =>
    messages.slice(-count).map(({ content, state }) => [content, state]);
  async function fetched(): Promise<Message[]> {
    const response = await fetch(`${base_url}/api/chat/conversations/${conversation_id}/messages`, {
      headers: { Authorization: `Bearer ${tenantToken}` },
    });
    return ((await response.json()) as Message[]).reverse();
  }

  beforeEach(async () => {
    [tenant, landlord] = [tenantToken, landlordToken].map((token) => join(token).conversation(conversation_id)) as
      [LiveConversation, LiveConversation];
    for (const conversation of [tenant, landlord]) conversation.open();
    await until(() => { for (const c of [tenant, landlord]) expect(c.getSnapshot()).toMatchObject({ isLoading: false, error: null }); });
  });
  afterEach(() => {
    for (const client of clients.splice(0)) client.close();
  });

  it("two people write, see ticks, typing, presence, edits and deletes", async () => {
    const text = `hello ${Date.now()}`;
    // As a person does, on every key: who has not joined yet hears the next one.
    await until(() => { tenant.setTyping(true); expect(landlord.getSnapshot().typingUserIds).toHaveLength(1); });
    tenant.send(text);
    await until(() => { expect(last(tenant.getSnapshot(), 1)).toEqual([[text, "delivered"]]); });
    expect(landlord.getSnapshot().typingUserIds).toEqual([]);
    landlord.markRead();
    await until(() => { expect(last(tenant.getSnapshot(), 1)).toEqual([[text, "read"]]); });
    const id = tenant.getSnapshot().messages.at(-1)?.id ?? "";
    await tenant.edit(id, `${text}!`);
    await until(() => { expect(last(landlord.getSnapshot(), 1)).toEqual([[`${text}!`, "read"]]); });
    await tenant.delete(id);
    await until(() => { expect(landlord.getSnapshot().messages.at(-1)).toMatchObject({ is_deleted: true, content: "" }); });
    await until(() => { expect(clients[0]?.conversations.getSnapshot().conversations[0]?.peer_presence?.is_online).toBe(true); });
  });

  it("what is missed and what is written offline ends equal to a fresh fetch", async () => {
    const storage = memoryOutbox();
    const phone = join(landlordToken, storage);
    phone.conversation(conversation_id).open();
    await until(() => { expect(phone.conversations.getSnapshot().isComplete).toBe(true); });
    await new Promise((resolve) => setTimeout(resolve, 2_500)); // the visit is stored
    phone.close();
    const mark = String(Date.now());
    for (let n = 0; n < 20; n += 1) (n % 2 ? tenant : landlord).send(`${mark} ${n}`);
    for (let n = 0; n < 3; n += 1) phone.conversation(conversation_id).send(`${mark} offline ${n}`);
    await until(() => { expect(tenant.getSnapshot().messages.filter(({ state }) => state === "sending")).toEqual([]); });
    landlord.markRead();
    tenant.markRead();
    const back = join(landlordToken, storage).conversation(conversation_id);
    back.open();
    await until(() => {
      for (const c of [tenant, landlord, back]) {
        const texts = c.getSnapshot().messages.map(({ content }) => content);
        expect(texts.filter((content) => content.startsWith(mark))).toHaveLength(23);
        expect(texts.slice(-3)).toEqual([0, 1, 2].map((n) => `${mark} offline ${n}`));
      }
    });
    await until(async () => {
      const truth = await fetched();
      for (const c of [tenant, landlord, back]) {
        expect(c.log.timeline.messages.slice(-30)).toEqual(truth.slice(-30));
        expect(c.log.unreadCount()).toBe(c.log.info?.unread_count);
      }
    });
  });

  it("a refused token closes the client with the server's error", async () => {
    const stranger = join(`${tenantToken}x`);
    await until(() => { expect(stranger.connection.getSnapshot()).toMatchObject({ status: "closed", reason: "unauthorized" }); });
  });
});
