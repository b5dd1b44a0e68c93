/** What a person writes is sent once, in order, and survives whatever happens to the page. */

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { ChatRequestError } from "../src/errors.js";
import { memoryOutbox } from "../src/storage/memory.js";
import type { OutboxStorage } from "../src/storage/types.js";
import { FakeServer, makeClient, pass, TENANT, texts } from "./kit.js";
import { refusal, tokenFor } from "./fake_server.js";

let server: FakeServer;

beforeEach(() => {
  vi.useFakeTimers();
  server = new FakeServer();
  server.addConversation("a");
  server.addConversation("b");
});
afterEach(() => vi.useRealTimers());

const stored = (id: string): string[] => server.messages(id).map(({ content }) => content);
const states = (client: ReturnType<typeof makeClient>, id: string): string[] =>
  client.conversation(id).getSnapshot().messages.map(({ state }) => state);
const sends = (): unknown[] => server.log.filter(({ event }) => event === "message");

describe("the outbox", () => {
  it("shows a message at once and turns it into the stored one under the same key", async () => {
    const client = makeClient(server);
    client.connect();
    await pass();
    const key = client.conversation("a").send("hello");
    expect(states(client, "a")).toEqual(["sending"]);
    await pass();
    const [message] = client.conversation("a").getSnapshot().messages;
    expect(message).toMatchObject({ key, seq: 1, state: "sent", content: "hello", isOwn: true });
    expect(states(client, "a")).toEqual(["sent"]);
  });

  it("keeps what was written offline over a reload and sends it in order", async () => {
    const storage = memoryOutbox();
    server.isDown = true;
    const before = makeClient(server, TENANT, { storage });
    before.connect();
    await pass();
    for (const text of ["one", "two", "three"]) before.conversation("a").send(text);
    await pass();
    before.close();

    const after = makeClient(server, TENANT, { storage });
    after.connect();
    await pass();
    expect(texts(after, "a")).toEqual(["one", "two", "three"]);
    expect(states(after, "a")).toEqual(["sending", "sending", "sending"]);
    server.isDown = false;
    await pass(10_000);
    expect(stored("a")).toEqual(["one", "two", "three"]);
    expect(states(after, "a")).toEqual(["sent", "sent", "sent"]);
    expect(await storage.list("")).toHaveLength(1); // the visit alone
  });

  it("shows nothing of one user's outbox to another", async () => {
    const storage = memoryOutbox();
    server.isDown = true;
    const before = makeClient(server, TENANT, { storage });
    before.connect();
    before.conversation("a").send("private");
    await pass();
    before.close();
    server.isDown = false;
    const other = makeClient(server, "33333333-3333-4333-8333-333333333333", { storage });
    other.connect();
    await pass(5_000);
    expect(texts(other, "a")).toEqual([]);
    expect(sends()).toEqual([]);
  });

  it("sends again under the same key when the acknowledgement is lost", async () => {
    const client = makeClient(server);
    client.connect();
    await pass();
    let lost = 0;
    server.fail = (event) => (event === "message" && lost++ === 0 ? "lose_ack" : undefined);
    client.conversation("a").send("once");
    client.conversation("a").send("after");
    await pass(30_000);
    expect(sends()).toHaveLength(3);
    expect(stored("a")).toEqual(["once", "after"]);
    expect(texts(client, "a")).toEqual(["once", "after"]);
  });

  it("does not send the next one before the one before it", async () => {
    const client = makeClient(server);
    client.connect();
    await pass();
    let failures = 0;
    server.fail = (event, payload) =>
      event === "message" && (payload as { content: string }).content === "one" && failures++ < 3
        ? refusal("unavailable", true).toJSON() : undefined;
    client.conversation("a").send("one");
    client.conversation("a").send("two");
    client.conversation("b").send("elsewhere");
    await pass(100);
    expect(stored("b")).toEqual(["elsewhere"]);
    expect(stored("a")).toEqual([]);
    await pass(20_000);
    expect(stored("a")).toEqual(["one", "two"]);
  });

  it.each(["invalid_payload", "content_rejected", "forbidden", "blocked", "not_found", "payload_too_large"])(
    "fails a message for good on %s, and the next ones go on", async (code) => {
      const client = makeClient(server);
      client.connect();
      await pass();
      server.fail = (event, payload) =>
        event === "message" && (payload as { content: string }).content === "bad" ? refusal(code).toJSON() : undefined;
      const key = client.conversation("a").send("bad");
      client.conversation("a").send("good");
      await pass(5_000);
      expect(stored("a")).toEqual(["good"]);
      const failed = client.conversation("a").getSnapshot().messages.at(-1);
      expect(failed).toMatchObject({ key, state: "failed", error: { code } });
      expect(client.conversations.getSnapshot().conversations.find(({ id }) => id === "a")?.waitingCount).toBe(1);
    });

  it("waits as long as a rate limit says", async () => {
    const client = makeClient(server);
    client.connect();
    await pass();
    let tries = 0;
    server.fail = (event) => (event === "message" && tries++ === 0 ? refusal("rate_limited", true, 20).toJSON() : undefined);
    client.conversation("a").send("patient");
    await pass(19_900);
    expect(sends()).toHaveLength(1);
    expect(states(client, "a")).toEqual(["sending"]);
    await pass(1_000);
    expect(stored("a")).toEqual(["patient"]);
  });

  it("does not take a passing fault of the server for a refusal", async () => {
    const client = makeClient(server);
    client.connect();
    await pass();
    let isFaulty = true;
    server.fail = (event) => (event === "message" && isFaulty ? refusal("internal_error").toJSON() : undefined);
    for (const text of ["one", "two"]) client.conversation("a").send(text);
    await pass(60_000);
    expect(states(client, "a")).toEqual(["sending", "sending"]);
    expect(sends().length).toBeGreaterThan(3);
    isFaulty = false;
    await pass(30_000);
    expect(stored("a")).toEqual(["one", "two"]);
    expect(states(client, "a")).toEqual(["sent", "sent"]);
  });

  it("lets the others pass a message that makes the server fail again and again", async () => {
    const client = makeClient(server);
    client.connect();
    await pass();
    server.fail = (event, payload) =>
      event === "message" && (payload as { content: string }).content === "poison" ? refusal("internal_error").toJSON() : undefined;
    client.conversation("a").send("poison");
    client.conversation("a").send("fine");
    await pass(600_000);
    expect(stored("a")).toEqual(["fine"]);
    expect(sends()).toHaveLength(22);
    expect(states(client, "a")).toEqual(["sent", "failed"]);
  });

  it("keeps a failed message over a reload, sends it again on demand, and forgets it on demand", async () => {
    const storage = memoryOutbox();
    server.fail = (event) => (event === "message" ? refusal("forbidden").toJSON() : undefined);
    const before = makeClient(server, TENANT, { storage });
    before.connect();
    await pass();
    before.conversation("a").send("first");
    before.conversation("a").send("second");
    await pass();
    before.close();

    server.fail = () => undefined;
    const after = makeClient(server, TENANT, { storage });
    after.connect();
    await pass();
    expect(states(after, "a")).toEqual(["failed", "failed"]);
    const [first, second] = after.conversation("a").getSnapshot().messages;
    after.conversation("a").retry(first?.key ?? "");
    after.conversation("a").discard(second?.key ?? "");
    await pass();
    expect(stored("a")).toEqual(["first"]);
    expect(states(after, "a")).toEqual(["sent"]);
    expect(await storage.list("chatserver:http://chat.test:" + TENANT + ":outbox:")).toEqual([]);
  });

  it("takes a new key when the old one belongs to another message", async () => {
    const client = makeClient(server);
    client.connect();
    await pass();
    let tries = 0;
    server.fail = (event) => (event === "message" && tries++ === 0 ? refusal("idempotency_conflict").toJSON() : undefined);
    const key = client.conversation("a").send("mine");
    await pass();
    client.conversation("a").retry(key);
    await pass();
    expect(stored("a")).toEqual(["mine"]);
    expect(server.messages("a")[0]?.client_msg_id).not.toBe(key);
  });

  it("neither discards nor retries a message that is on its way", async () => {
    const client = makeClient(server);
    const key = client.conversation("a").send("going");
    client.conversation("a").discard(key);
    client.conversation("a").retry(key);
    client.connect();
    await pass();
    expect(stored("a")).toEqual(["going"]);
    expect(sends()).toHaveLength(1);
  });

  it("sends although the storage fails, hangs or holds rubbish", async () => {
    const hanging: OutboxStorage = {
      get: () => Promise.reject(new Error("no")),
      set: () => new Promise(() => undefined),
      delete: () => Promise.reject(new Error("no")),
      list: () => Promise.resolve(["{not json"]),
    };
    const client = makeClient(server, TENANT, { storage: hanging });
    client.connect();
    client.conversation("a").send("anyway");
    await pass(30_000);
    expect(stored("a")).toEqual(["anyway"]);
    expect(states(client, "a")).toEqual(["sent"]);
  });

  it("stores a message before it leaves", async () => {
    const storage = memoryOutbox();
    const order: string[] = [];
    const slowly = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 200));
    const watched: OutboxStorage = {
      ...storage,
      set: async (key, value) => {
        await slowly();
        if (key.includes(":outbox:")) order.push("stored");
        await storage.set(key, value);
      },
      delete: async (key) => {
        await slowly();
        await storage.delete(key);
      },
    };
    server.fail = (event) => { if (event === "message") order.push("sent"); return undefined; };
    const client = makeClient(server, TENANT, { storage: watched });
    client.connect();
    await pass();
    client.conversation("a").send("safe");
    await pass(300);
    client.conversation("a").send("safe too");
    await pass();
    expect(order).toEqual(["stored", "sent", "stored", "sent"]);
  });

  it("deletes everything when the user logs out", async () => {
    const storage = memoryOutbox();
    server.fail = (event) => (event === "message" ? refusal("forbidden").toJSON() : undefined);
    const client = makeClient(server, TENANT, { storage });
    client.connect();
    await pass();
    client.conversation("a").send("secret");
    await pass(5_000);
    expect((await storage.list("")).length).toBe(2);
    await client.forget();
    await pass(5_000);
    expect(await storage.list("")).toEqual([]);
    expect(texts(client, "a")).toEqual([]);
    expect(client.conversations.getSnapshot().conversations).toEqual([]);
  });

  it("keeps the order in which it was written, whatever order the storage lists it in", async () => {
    const storage = memoryOutbox();
    const mixed: OutboxStorage = { ...storage, list: async (prefix) => (await storage.list(prefix)).reverse() };
    const before = makeClient(server, TENANT, { storage });
    server.isDown = true;
    before.connect();
    for (let n = 0; n < 5; n += 1) before.conversation("a").send(`${n}`);
    await pass();
    before.close();
    server.isDown = false;
    const after = makeClient(server, TENANT, { storage: mixed });
    after.connect();
    await pass();
    expect(stored("a")).toEqual(["0", "1", "2", "3", "4"]);
  });

  it("sends the same after being closed and connected again", async () => {
    const client = makeClient(server);
    client.connect();
    await pass();
    client.close();
    client.conversation("a").send("later");
    await pass();
    expect(stored("a")).toEqual([]);
    client.connect();
    await pass();
    expect(stored("a")).toEqual(["later"]);
  });

  it("waits for the user to be known before it stores or sends", async () => {
    let give: (token: string) => void = () => undefined;
    const storage = memoryOutbox();
    const client = makeClient(server, TENANT, { storage, token: () => new Promise((resolve) => { give = resolve; }) });
    client.connect();
    client.conversation("a").send("early");
    await pass();
    expect(await storage.list("")).toEqual([]);
    give(tokenFor(TENANT));
    await pass();
    expect(stored("a")).toEqual(["early"]);
    expect(texts(client, "a")).toEqual(["early"]);
  });

  it("knows an error by its code", () => {
    const error = new ChatRequestError({ code: "x", detail: "y", retryable: false, fields: { a: ["b"] } });
    expect(error.toJSON()).toEqual({ code: "x", detail: "y", retryable: false, fields: { a: ["b"] } });
  });
});
