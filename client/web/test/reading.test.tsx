/** When messages count as read, and where the unread ones begin. */

import type { Chat } from "chatserver-client/react";
import { act, renderHook } from "@testing-library/react";
import { expect, test } from "vitest";

import { seenUpTo, useReading, type Reading } from "../src/pane/use_reading";
import { chat, message } from "./kit";

interface Props {
  value: Chat;
  isLooking: boolean;
}

function read(value: Chat, isLooking: boolean): { rerender: (props: Props) => void; result: { current: Reading } } {
  return renderHook((props: Props) => useReading(props.value, props.isLooking), { initialProps: { value, isLooking } });
}

const own = { isOwn: true, sender_id: "me" };
const all = (): boolean => true;

test("only what was seen is read, and only without a gap", () => {
  const messages = [1, 2, 3, 4, 5].map((seq) => message(seq));
  expect(seenUpTo(messages, 2, (seq) => seq <= 4)).toBe(4);
  expect(seenUpTo(messages, 2, (seq) => seq !== 3)).toBeUndefined();
  expect(seenUpTo(messages, 2, (seq) => seq !== 4)).toBe(3);
  expect(seenUpTo(messages, 5, all)).toBeUndefined();
});

test("what was jumped over is not read, whatever is seen after it", () => {
  expect(seenUpTo([message(50), message(51)], 2, all)).toBeUndefined();
});

test("own messages and deleted ones need nobody to see them, and are not read by themselves", () => {
  const messages = [message(1, own), message(2, { is_deleted: true }), message(3), message(4, own), message(5, { ...own, seq: null })];
  expect(seenUpTo(messages, 0, all)).toBe(3);
  expect(seenUpTo(messages.slice(0, 2), 0, all)).toBeUndefined();
});

test("the mark stays when the messages are read, until one answers", () => {
  const { rerender, result } = read(chat([message(1), message(2)], { unread_count: 1, read_seq: 1 }), true);
  rerender({ value: chat([message(1), message(2)]), isLooking: true });
  expect(result.current).toMatchObject({ readUpTo: 1, markedCount: 1 });
  rerender({ value: chat([message(1), message(2), message(3, { ...own, seq: null, state: "sending" })]), isLooking: true });
  expect(result.current.readUpTo).toBeNull();
});

test("the mark waits for the messages, whose counter may be of the last visit until then", () => {
  const stale = { ...chat([], { unread_count: 0, read_seq: 9, last_seq: 9 }), isLoading: true };
  const { rerender, result } = read(stale, false);
  expect(result.current).toMatchObject({ readUpTo: null, openedAt: Infinity });
  rerender({ value: chat([message(10)], { unread_count: 215, read_seq: 9, last_seq: 224 }), isLooking: false });
  expect(result.current).toMatchObject({ readUpTo: 9, markedCount: 215, openedAt: 224 });
});

test("the mark comes with the messages, though something else loads", () => {
  const value = { ...chat([message(10)], { unread_count: 215, read_seq: 9, last_seq: 224 }), isLoading: true };
  expect(read(value, false).result.current).toMatchObject({ readUpTo: 9, markedCount: 215 });
});

test("what comes before the reader's eyes gets no mark, what comes behind their back does", () => {
  const { rerender, result } = read(chat([message(1)]), true);
  rerender({ value: chat([message(1), message(2)], { unread_count: 1, read_seq: 1 }), isLooking: true });
  rerender({ value: chat([message(1), message(2)]), isLooking: true });
  expect(result.current.readUpTo).toBeNull();
  rerender({ value: chat([message(1), message(2), message(3)], { unread_count: 1, read_seq: 2 }), isLooking: false });
  rerender({ value: chat([message(1), message(2), message(3), message(4)], { unread_count: 2, read_seq: 2 }), isLooking: false });
  expect(result.current).toMatchObject({ readUpTo: 2, openedAt: 1 });
});

test("it is set anew on demand, before what is unread now", () => {
  const value = chat([message(1), message(2), message(3)], { unread_count: 3, read_seq: 0 });
  const { rerender, result } = read(value, true);
  rerender({ value: { ...value, conversation: { ...value.conversation, unread_count: 1, read_seq: 2 } as never }, isLooking: true });
  expect(result.current.readUpTo).toBe(0);
  act(() => { result.current.mark(); });
  expect(result.current).toMatchObject({ readUpTo: 2, markedCount: 1 });
});
