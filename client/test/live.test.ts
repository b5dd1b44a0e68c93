/** What is true only now: who types, who is online. */

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import type { ChatClient } from "../src/client.js";
import { refusal } from "./fake_server.js";
import { FakeServer, LANDLORD, makeClient, pass, TENANT } from "./kit.js";

let server: FakeServer;
let tenant: ChatClient;

beforeEach(async () => {
  vi.useFakeTimers();
  server = new FakeServer();
  server.addConversation("a");
  tenant = makeClient(server, TENANT);
  tenant.connect();
  await pass();
});
afterEach(() => {
  tenant.close();
  vi.useRealTimers();
});

const events = (name: string): unknown[] => server.log.filter(({ event }) => event === name).map(({ payload }) => payload);

describe("typing", () => {
  const typing = (is_typing: boolean): object => ({ conversation_id: "a", is_typing });

  it("is told at the first key, repeated while it goes on, and ended after 3 s of silence", async () => {
    tenant.conversation("a").open();
    await pass();
    for (let n = 0; n < 30; n += 1) {
      tenant.conversation("a").setTyping(true);
      await pass(100);
    }
    expect(events("typing")).toEqual([typing(true), typing(true)]);
    await pass(3_000);
    expect(events("typing")).toEqual([typing(true), typing(true), typing(false)]);
    await pass(10_000);
    expect(events("typing")).toHaveLength(3);
  });

  it("ends when the message is sent, when the text is emptied, and when the screen is left", async () => {
    const close = tenant.conversation("a").open();
    await pass();
    tenant.conversation("a").setTyping(false);
    expect(events("typing")).toEqual([]);
    for (const end of [
      () => tenant.conversation("a").send("x"),
      () => { tenant.conversation("a").setTyping(false); },
      close,
    ]) {
      tenant.conversation("a").setTyping(true);
      end();
    }
    expect(events("typing")).toEqual([true, false, true, false, true, false].map(typing));
    await pass();
    expect(events("leave")).toEqual([{ conversation_id: "a" }]);
  });

  it("of others is shown until they stop, send, are not heard of, or the connection is lost", async () => {
    const conversation = tenant.conversation("a");
    const say = (is_typing: boolean): void => {
      server.tell(TENANT, { name: "typing", payload: { conversation_id: "a", user_id: LANDLORD, is_typing, timestamp: "" } });
    };
    const shown = (): readonly string[] => conversation.getSnapshot().typingUserIds;
    say(true);
    expect(shown()).toEqual([LANDLORD]);
    expect(tenant.conversations.getSnapshot().conversations[0]?.isPeerTyping).toBe(true);
    say(false);
    expect(shown()).toEqual([]);
    say(true);
    server.send(LANDLORD, { conversation_id: "a", content: "x" });
    expect(shown()).toEqual([]);
    say(true);
    await pass(5_900);
    expect(shown()).toEqual([LANDLORD]);
    await pass(200);
    expect(shown()).toEqual([]);
    say(true);
    server.cut(TENANT);
    expect(shown()).toEqual([]);
    server.tell(TENANT, { name: "typing", payload: { conversation_id: "a", user_id: TENANT, is_typing: true, timestamp: "" } });
    expect(shown()).toEqual([]);
  });
});

describe("presence", () => {
  const tell = (is_online: boolean, second: number): void => {
    server.tell(TENANT, {
      name: "presence",
      payload: { user_id: LANDLORD, is_online, last_seen_at: null, timestamp: `2026-01-01T00:00:0${second}.000000Z` },
    });
  };
  const shown = (): boolean | undefined => tenant.conversations.getSnapshot().conversations[0]?.peer_presence?.is_online;

  it("follows the newest event, whatever overtakes it", () => {
    expect(shown()).toBe(false);
    tell(true, 5);
    expect(shown()).toBe(true);
    tell(false, 3);
    expect(shown()).toBe(true);
    expect(tenant.presence(LANDLORD)?.is_online).toBe(true);
    expect(tenant.presence("nobody")).toBeUndefined();
  });

  it("is not taken from an answer that is older than an event", async () => {
    server.network = (send, what) => { if (what === "ack") setTimeout(send, 500); else send(); };
    tenant.conversation("a").open(); // the answer to this join will say "offline"
    server.cut(TENANT);
    await pass(1_200);
    tell(true, 5);
    await pass(700);
    expect(server.log.filter(({ event }) => event === "sync").length).toBeGreaterThan(1);
    expect(shown()).toBe(true);
  });

  it("is refreshed by joining, which an open conversation and a watched list do", async () => {
    const stored = server.stored.get("a");
    if (stored) stored.conversation.peer_presence = { is_online: true, last_seen_at: null };
    const stop = tenant.conversations.watch(5);
    const close = tenant.conversation("a").open();
    await pass();
    expect(shown()).toBe(true);
    expect(events("join")).toHaveLength(1);
    stop();
    expect(events("leave")).toHaveLength(0);
    close();
    expect(events("leave")).toHaveLength(1);
  });

  it("is joined again after a reconnect, also when that fails at first", async () => {
    tenant.conversation("a").open();
    await pass();
    let failures = 0;
    server.fail = (event) => (event === "join" && failures++ === 0 ? refusal("unavailable", true).toJSON() : undefined);
    server.cut();
    await pass(1_500);
    expect(events("join")).toHaveLength(2);
    await pass(3_000);
    expect(events("join")).toHaveLength(3);
    await pass(10_000);
    expect(events("join")).toHaveLength(3);
  });

  it("shows from the answer to a join that something was missed", async () => {
    server.send(LANDLORD, { conversation_id: "a", content: "1" });
    await pass();
    server.network = (send, what) => { if (what === "ack") send(); };
    server.send(LANDLORD, { conversation_id: "a", content: "lost" });
    server.network = (send) => { send(); };
    tenant.conversation("a").open();
    await pass();
    expect(tenant.conversation("a").getSnapshot().messages.map(({ content }) => content)).toEqual(["1", "lost"]);
  });

  it("is watched for the top of the list, as the list moves", async () => {
    for (let n = 0; n < 4; n += 1) server.addConversation(`c${n}`);
    server.cut();
    await pass(5_000);
    tenant.conversations.watch(2);
    await pass();
    expect(events("join")).toEqual([{ conversation_id: "c3" }, { conversation_id: "c2" }]);
    server.send(LANDLORD, { conversation_id: "c0", content: "x" });
    await pass();
    expect(events("join").at(-1)).toEqual({ conversation_id: "c0" });
    expect(events("leave")).toEqual([{ conversation_id: "c2" }]);
  });
});
