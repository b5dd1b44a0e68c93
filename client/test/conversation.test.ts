/** One conversation: ticks, reading, history, editing. */

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import type { ChatClient } from "../src/client.js";
import { refusal } from "./fake_server.js";
import { expectEqualToServer, FakeServer, LANDLORD, makeClient, pass, TENANT, texts } from "./kit.js";

let server: FakeServer;
let tenant: ChatClient;
let landlord: ChatClient;

beforeEach(async () => {
  vi.useFakeTimers();
  server = new FakeServer();
  server.addConversation("a");
  tenant = makeClient(server, TENANT);
  landlord = makeClient(server, LANDLORD);
  tenant.connect();
  landlord.connect();
  await pass();
});
afterEach(() => {
  tenant.close();
  landlord.close();
  vi.useRealTimers();
});

const events = (name: string): unknown[] => server.log.filter(({ event }) => event === name).map(({ payload }) => payload);
const states = (client: ChatClient): string[] => client.conversation("a").getSnapshot().messages.map(({ state }) => state);

describe("ticks", () => {
  it("go from sent to delivered by themselves and to read when told", async () => {
    landlord.close();
    tenant.conversation("a").send("hello");
    await pass();
    expect(states(tenant)).toEqual(["sent"]);
    landlord.connect();
    await pass();
    expect(states(tenant)).toEqual(["delivered"]);
    landlord.conversation("a").markRead();
    await pass();
    expect(states(tenant)).toEqual(["read"]);
    expectEqualToServer(tenant, server, "a");
    expectEqualToServer(landlord, server, "a");
  });

  it("report many deliveries at once, and one that failed again", async () => {
    let failures = 0;
    server.fail = (event) => (event === "delivered" && failures++ === 0 ? refusal("unavailable", true).toJSON() : undefined);
    for (let n = 0; n < 20; n += 1) server.send(TENANT, { conversation_id: "a", content: `${n}` });
    await pass(10_000);
    expect(events("delivered")).toEqual([
      { conversation_id: "a", seq: 20 }, { conversation_id: "a", seq: 20 },
    ]);
    expect(new Set(server.messages("a").map(({ status }) => status))).toEqual(new Set(["delivered"]));
  });

  it("say nothing of own messages, and nothing for someone who takes no part", async () => {
    const visitor = makeClient(server, "99999999-9999-4999-8999-999999999999");
    visitor.connect();
    visitor.conversation("a").open();
    landlord.close();
    await pass();
    tenant.conversation("a").send("hello");
    server.tell(visitor.userId ?? "", { name: "message", payload: server.messages("a")[0] ?? ({} as never) });
    await pass();
    expect(texts(visitor, "a")).toEqual(["hello"]);
    expect(events("delivered")).toEqual([]);
    visitor.close();
  });

  it("are not reported for what was delivered before", async () => {
    server.send(TENANT, { conversation_id: "a", content: "x" });
    await pass();
    server.log.length = 0;
    const again = makeClient(server, LANDLORD);
    again.connect();
    again.conversation("a").open();
    await pass();
    expect(texts(again, "a")).toEqual(["x"]);
    expect(events("delivered")).toEqual([]);
    again.close();
  });

  it("of a conversation that nobody has opened come after it was fetched", async () => {
    landlord.close();
    for (let n = 0; n < 5; n += 1) server.send(TENANT, { conversation_id: "a", content: `${n}` });
    landlord.connect();
    await pass();
    expect(server.messages("a").map(({ status }) => status)).toEqual(Array<string>(5).fill("delivered"));
    expect(texts(landlord, "a")).toHaveLength(5);
  });
});

describe("reading", () => {
  it("clears the counter at once and tells the server once", async () => {
    for (let n = 0; n < 3; n += 1) server.send(TENANT, { conversation_id: "a", content: `${n}` });
    await pass();
    expect(landlord.conversations.getSnapshot().unreadCount).toBe(3);
    landlord.conversation("a").markRead();
    landlord.conversation("a").markRead();
    expect(landlord.conversations.getSnapshot().unreadCount).toBe(0);
    await pass();
    landlord.conversation("a").markRead();
    await pass();
    expect(events("read")).toEqual([{ conversation_id: "a", seq: 3 }]);
  });

  it("up to a message leaves the later ones unread", async () => {
    for (let n = 0; n < 3; n += 1) server.send(TENANT, { conversation_id: "a", content: `${n}` });
    await pass();
    landlord.conversation("a").markRead(2);
    await pass();
    expect(landlord.conversation("a").getSnapshot().conversation?.unread_count).toBe(1);
    expectEqualToServer(landlord, server, "a");
  });

  it("while offline is told when the connection is back", async () => {
    server.send(TENANT, { conversation_id: "a", content: "x" });
    await pass();
    server.isDown = true;
    server.cut(LANDLORD);
    landlord.conversation("a").markRead();
    await pass(10_000);
    server.isDown = false;
    await pass(10_000);
    expect(events("read")).toHaveLength(1);
    expect(server.view("a", LANDLORD).unread_count).toBe(0);
  });

  it("that the server refuses counts as unread again", async () => {
    server.send(TENANT, { conversation_id: "a", content: "x" });
    await pass();
    server.fail = (event) => (event === "read" ? refusal("forbidden").toJSON() : undefined);
    landlord.conversation("a").markRead();
    expect(landlord.conversations.getSnapshot().unreadCount).toBe(0);
    await pass();
    expect(landlord.conversations.getSnapshot().unreadCount).toBe(1);
    expect(events("read")).toHaveLength(1);
  });

  it("on one device clears the counter of the other", async () => {
    const phone = makeClient(server, LANDLORD);
    phone.connect();
    server.send(TENANT, { conversation_id: "a", content: "x" });
    await pass();
    expect(phone.conversations.getSnapshot().unreadCount).toBe(1);
    landlord.conversation("a").markRead();
    await pass();
    expect(phone.conversations.getSnapshot().unreadCount).toBe(0);
    phone.close();
  });

  it("does not count messages that were deleted", async () => {
    server.send(TENANT, { conversation_id: "a", content: "x" });
    server.change("a", 1, null);
    await pass();
    expect(landlord.conversations.getSnapshot().unreadCount).toBe(0);
    expectEqualToServer(landlord, server, "a");
  });
});

describe("messages of the host application", () => {
  it("are read when either side has read them", async () => {
    const system = "77777777-7777-4777-8777-777777777777";
    server.send(system, { conversation_id: "a", content: "rent is due", message_type: "system" });
    await pass();
    const { log } = tenant.conversation("a");
    expect(log.timeline.messages[0]?.status).toBe("delivered");
    tenant.conversation("a").markRead();
    await pass();
    expect(log.timeline.messages[0]?.status).toBe("read");
  });
});

describe("history", () => {
  beforeEach(() => {
    for (let n = 1; n <= 120; n += 1) server.send(LANDLORD, { conversation_id: "a", content: `${n}` });
  });

  it("is loaded a page at a time, up to the first message", async () => {
    const fresh = makeClient(server);
    fresh.connect();
    fresh.conversation("a").open();
    expect(fresh.conversation("a").getSnapshot().isLoading).toBe(true);
    await pass();
    expect(texts(fresh, "a")).toHaveLength(50);
    await Promise.all([fresh.conversation("a").loadOlder(), fresh.conversation("a").loadOlder()]);
    expect(texts(fresh, "a")).toHaveLength(100);
    await fresh.conversation("a").loadOlder();
    await fresh.conversation("a").loadOlder();
    expect(texts(fresh, "a")).toEqual(Array.from({ length: 120 }, (_, n) => `${n + 1}`));
    expect(fresh.conversation("a").getSnapshot()).toMatchObject({ hasOlder: false, isLoading: false, error: null });
    fresh.close();
  });

  it("keeps what happens while a page is under way", async () => {
    const fresh = makeClient(server);
    fresh.connect();
    await pass(10);
    server.network = (send, what) => { if (what === "ack") setTimeout(send, 400); else send(); };
    fresh.conversation("a").open();
    await pass(600);
    server.change("a", 120, "edited meanwhile");
    server.send(LANDLORD, { conversation_id: "a", content: "sent meanwhile" });
    server.receipt(LANDLORD, "a", "delivered", 121);
    await pass(5_000);
    expect(texts(fresh, "a").slice(-2)).toEqual(["edited meanwhile", "sent meanwhile"]);
    expectEqualToServer(fresh, server, "a");
    fresh.close();
  });

  it("says why a page did not come, and tries again", async () => {
    const fresh = makeClient(server, TENANT, {
      fetch: (url, init) => (isBroken ? Promise.resolve(new Response("<html>", { status: 502 })) : server.fetch(url, init)),
    });
    let isBroken = true;
    fresh.connect();
    fresh.conversation("a").open();
    await pass();
    expect(fresh.conversation("a").getSnapshot()).toMatchObject({ error: { code: "unavailable", retryable: true }, messages: [] });
    isBroken = false;
    await pass(5_000);
    expect(fresh.conversation("a").getSnapshot().error).toBeNull();
    expect(texts(fresh, "a")).toHaveLength(50);
    fresh.close();
  });

  it("of a conversation that is not there is an error, not an endless wait", async () => {
    tenant.conversation("nowhere").open();
    await pass(5_000);
    expect(tenant.conversation("nowhere").getSnapshot()).toMatchObject({ isLoading: false, error: { code: "not_found" } });
  });
});

describe("changing messages", () => {
  it("shows an edit and a delete on both sides", async () => {
    tenant.conversation("a").send("helo");
    await pass();
    const id = tenant.conversation("a").getSnapshot().messages[0]?.id ?? "";
    await tenant.conversation("a").edit(id, "hello");
    expect(texts(landlord, "a")).toEqual(["hello"]);
    expect(texts(tenant, "a")).toEqual(["hello"]);
    await tenant.conversation("a").delete(id);
    await pass();
    expect(landlord.conversation("a").getSnapshot().messages[0]).toMatchObject({ content: "", is_deleted: true });
    expectEqualToServer(tenant, server, "a");
  });

  it("asks when the event of a delete was lost", async () => {
    tenant.conversation("a").send("oops");
    await pass();
    server.network = (send, what) => { if (what === "ack") send(); };
    await tenant.conversation("a").delete(tenant.conversation("a").getSnapshot().messages[0]?.id ?? "");
    server.network = (send) => { send(); };
    await pass(3_000);
    expect(tenant.conversation("a").getSnapshot().messages[0]?.is_deleted).toBe(true);
  });

  it("is refused with the server's error, and at once when offline", async () => {
    server.fail = (event) => (event === "edit" ? refusal("forbidden").toJSON() : undefined);
    const edit = tenant.conversation("a").edit("m", "x").catch((error: unknown) => error);
    await pass();
    expect(await edit).toMatchObject({ code: "forbidden", retryable: false });
    server.isDown = true;
    server.cut();
    await expect(tenant.conversation("a").delete("m")).rejects.toMatchObject({ code: "offline" });
  });
});

describe("archiving", () => {
  it("is seen on every device, and a new message undoes it", async () => {
    await tenant.archive("a");
    await pass();
    const isArchived = (): boolean | undefined => tenant.conversations.getSnapshot().conversations[0]?.isArchived;
    expect(isArchived()).toBe(true);
    server.send(LANDLORD, { conversation_id: "a", content: "x" });
    expect(isArchived()).toBe(false);
    expectEqualToServer(tenant, server, "a");
  });
});

describe("what is shown", () => {
  it("stays the same object until it changes", async () => {
    tenant.conversation("a").open();
    tenant.conversation("a").send("one");
    await pass();
    const before = tenant.conversation("a").getSnapshot();
    const list = tenant.conversations.getSnapshot();
    await pass();
    expect(tenant.conversation("a").getSnapshot()).toBe(before);
    expect(tenant.conversations.getSnapshot()).toBe(list);
    tenant.conversation("a").send("two");
    await pass();
    expect(tenant.conversation("a").getSnapshot().messages[0]).toBe(before.messages[0]);
  });

  it("keeps a message whose acknowledgement came before the events in front of it", async () => {
    tenant.conversation("a").open();
    await pass();
    server.network = (send, what) => { if (what === "ack") send(); };
    server.send(LANDLORD, { conversation_id: "a", content: "lost" });
    tenant.conversation("a").send("mine");
    await pass(100);
    server.network = (send) => { send(); };
    expect(tenant.conversation("a").getSnapshot().messages).toMatchObject([{ content: "mine", state: "sent", seq: 2 }]);
    await pass();
    expect(texts(tenant, "a")).toEqual(["lost", "mine"]);
  });

  it("hides no own message behind another's client_msg_id", async () => {
    server.fail = (event) => (event === "message" ? refusal("unavailable", true).toJSON() : undefined);
    const key = tenant.conversation("a").send("mine");
    server.send(LANDLORD, { conversation_id: "a", content: "copycat", client_msg_id: key });
    await pass();
    expect(texts(tenant, "a")).toEqual(["copycat", "mine"]);
    const keys = tenant.conversation("a").getSnapshot().messages.map((message) => message.key);
    expect(new Set(keys).size).toBe(2);
  });
});
