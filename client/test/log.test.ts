/** One conversation's state: what happens when snapshots, pages and events meet in any order. */

import { beforeEach, describe, expect, it, vi } from "vitest";

import { ConversationLog } from "../src/log.js";
import type { ConversationSync, Message } from "../src/protocol.js";
import { FakeServer, LANDLORD, TENANT } from "./kit.js";

let server: FakeServer;
let log: ConversationLog;
const listener = { changed: vi.fn(), gap: vi.fn() };

beforeEach(() => {
  vi.clearAllMocks();
  server = new FakeServer();
  server.addConversation("a");
  log = new ConversationLog({ userId: TENANT }, listener);
  for (let n = 1; n <= 6; n += 1) server.send(n % 2 ? LANDLORD : TENANT, { conversation_id: "a", content: `${n}` });
});

const view = (extra: Partial<ConversationSync> = {}): ConversationSync => ({ ...structuredClone(server.view("a", TENANT)), ...extra });
const page = (from = 1, to = Infinity): Message[] =>
  structuredClone(server.messages("a").filter(({ seq }) => seq >= from && seq <= to)).reverse();
const contents = (): string[] => log.timeline.messages.map(({ content }) => content);
const load = (from = 1): boolean => log.mergePage(page(from), log.record());
const deliver = (seq: number): void => {
  server.receipt(LANDLORD, "a", "delivered", seq);
  const receipt = server.stored.get("a")?.receipts.at(-1);
  log.receive({ name: "delivery_receipt", payload: {
    conversation_id: "a", message_id: "", seq, delivered_to: LANDLORD, delivered_at: receipt?.at ?? "", rev: receipt?.rev ?? 0,
  } });
};

describe("a page of history", () => {
  it("is taken when it ends where the conversation ends", () => {
    log.summarize(view(), 0);
    expect(load(4)).toBe(true);
    expect(contents()).toEqual(["4", "5", "6"]);
    expect(log.mergePage(page(1, 3), log.record())).toBe(true);
    expect(contents()).toEqual(["1", "2", "3", "4", "5", "6"]);
  });

  it("is refused when it would leave a gap, before or behind", () => {
    log.summarize(view(), 0);
    expect(log.mergePage(page(1, 5), log.record())).toBe(false);
    load(5);
    expect(log.mergePage(page(1, 3), log.record())).toBe(false);
    expect(contents()).toEqual(["5", "6"]);
  });

  it("does not overwrite what was edited while it was under way", () => {
    log.summarize(view(), 0);
    const [recording, stale] = [log.record(), page()];
    log.receive({ name: "message_updated", payload: server.change("a", 2, "edited") });
    expect(log.mergePage(stale, recording)).toBe(true);
    expect(contents()[1]).toBe("edited");
  });

  it("does not undo a receipt that came while it was under way", () => {
    log.summarize(view(), 0);
    const [recording, stale] = [log.record(), page()];
    deliver(6);
    expect(log.mergePage(stale, recording)).toBe(true);
    expect(log.timeline.messages).toEqual(server.messages("a"));
  });

  it("does not bring messages whose events have not come, but says that they exist", () => {
    vi.useFakeTimers();
    log.summarize(view(), 0);
    server.send(LANDLORD, { conversation_id: "a", content: "7" });
    expect(load()).toBe(true);
    expect(contents()).toHaveLength(6);
    vi.advanceTimersByTime(300);
    expect(listener.gap).toHaveBeenCalledTimes(1);
    vi.useRealTimers();
  });

  it("is refused when the window was dropped while it was under way", () => {
    log.summarize(view(), 0);
    load(5);
    const [recording, older] = [log.record(), page(3, 4)];
    server.send(LANDLORD, { conversation_id: "a", content: "7" });
    log.summarize(view(), 0);
    expect(log.mergePage([...page(5, 7), ...older], recording)).toBe(false);
    expect(contents()).toEqual([]);
  });

  it("that never came leaves nothing behind", () => {
    log.summarize(view(), 0);
    const recording = log.record();
    log.discard(recording);
    deliver(6);
    expect(recording.moves).toEqual([]);
  });
});

describe("a snapshot", () => {
  beforeEach(() => {
    log.summarize(view(), 0);
    load();
  });

  it("with changes brings the window up to date", () => {
    const position = log.position;
    expect(position).toEqual({ seq: 6, rev: 6 });
    server.change("a", 1, "edited");
    server.send(LANDLORD, { conversation_id: "a", content: "7" });
    log.summarize(view({ changes: page().reverse().filter(({ rev }) => rev > 6) }), 0);
    expect(contents()).toEqual(["edited", "2", "3", "4", "5", "6", "7"]);
    expect(log.rev).toBe(8);
  });

  it("without the changes, or with too many, drops the window", () => {
    for (const extra of [{}, { changes: [], limited: true }]) {
      load();
      expect(contents()).not.toEqual([]);
      server.change("a", 1, `edited ${log.rev}`);
      log.summarize(view(extra), 0);
      expect(contents()).toEqual([]);
      expect(log.info).toEqual(server.view("a", TENANT));
    }
  });

  it("that is older than what is held changes nothing", () => {
    const old = view({ changes: page().reverse() });
    log.receive({ name: "message_updated", payload: server.change("a", 1, "edited") });
    log.summarize(old, 0);
    expect(contents()[0]).toBe("edited");
    expect(log.rev).toBe(7);
  });

  it("that breaks its word leaves no window with a gap", () => {
    for (let n = 7; n <= 9; n += 1) server.send(LANDLORD, { conversation_id: "a", content: `${n}` });
    log.summarize(view({ changes: page(9) }), 0);
    expect(contents()).toEqual([]);
  });

  it("leaves the unread counter alone when an event told it after the request", () => {
    log.forgetMessages();
    const asked = 5;
    log.unread(2, asked + 1);
    log.summarize(view(), asked);
    expect(log.unreadCount()).toBe(2);
    log.summarize(view(), asked + 2);
    expect(log.unreadCount()).toBe(3);
  });

  it("that skips receipts makes their messages unsure, until they are fetched again", () => {
    server.receipt(LANDLORD, "a", "read", 4);
    log.summarize(view({ changes: [] }), 0);
    expect(log.timeline.get(2)).toMatchObject({ status: "read", read_at: null });
    expect(log.unsureFrom).toBe(1); // and whether other devices have confirmed message 1, nobody said
    load();
    log.settle();
    expect(log.unsureFrom).toBeUndefined();
    expect(log.timeline.messages).toEqual(server.messages("a"));
  });
});

describe("flags", () => {
  it("follow the newest word, in whatever order it comes", () => {
    log.summarize(view(), 0);
    server.archive(TENANT, "a", true);
    const archived = view();
    server.archive(TENANT, "a", false);
    const back = view();
    log.flags(back, 1);
    log.flags(archived, 2);
    expect(log.info?.archived_by_client).toBe(false);
    server.archive(TENANT, "a", true);
    log.flags(view(), 3);
    log.summarize(back, 4);
    expect(log.info?.archived_by_client).toBe(true);
    log.receive({ name: "message", payload: server.send(LANDLORD, { conversation_id: "a", content: "7" }).message });
    expect(log.info?.archived_by_client).toBe(false);
  });
});

describe("the unread counter", () => {
  it("is counted where all is held, and else bounded by what can be", () => {
    log.summarize(view(), 0);
    log.unread(40, 1);
    expect(log.unreadCount()).toBe(6);
    log.unread(2, 2);
    expect(log.unreadCount()).toBe(2);
    load();
    expect(log.unreadCount()).toBe(3);
    expect(log.unreadCount(3)).toBe(1);
    expect(log.unreadCount(6)).toBe(0);
  });
});
