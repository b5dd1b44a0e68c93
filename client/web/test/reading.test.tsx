/** When messages count as read, and where the unread ones begin. */

import type { Chat } from "chatserver-client/react";
import { renderHook } from "@testing-library/react";
import { expect, test } from "vitest";

import { useReading, type Reading } from "../src/pane/use_reading";
import { chat, message } from "./kit";

interface Props {
  value: Chat;
  isLooking: boolean;
}

function read(value: Chat, isLooking: boolean): { rerender: (props: Props) => void; result: { current: Reading } } {
  return renderHook((props: Props) => useReading(props.value, props.isLooking), { initialProps: { value, isLooking } });
}

const own = { isOwn: true, sender_id: "me" };

test("nothing is read while the reader looks elsewhere", () => {
  const value = chat([message(1), message(2)], { unread_count: 1, read_seq: 1 });
  const { rerender, result } = read(value, false);
  expect(value.markRead).not.toHaveBeenCalled();
  expect(result.current.readUpTo).toBe(1);
  rerender({ value, isLooking: true });
  expect(value.markRead).toHaveBeenCalledOnce();
});

test("the mark stays when the messages are read, until one answers", () => {
  const value = chat([message(1), message(2)], { unread_count: 1, read_seq: 1 });
  const { rerender, result } = read(value, true);
  rerender({ value: { ...chat([message(1), message(2)]), markRead: value.markRead }, isLooking: true });
  expect(result.current.readUpTo).toBe(1);
  rerender({ value: chat([message(1), message(2), message(3, { ...own, seq: null, state: "sending" })]), isLooking: true });
  expect(result.current.readUpTo).toBeNull();
});

test("what comes before the reader's eyes gets no mark, what comes behind their back does", () => {
  const { rerender, result } = read(chat([message(1)]), true);
  rerender({ value: chat([message(1), message(2)]), isLooking: true });
  expect(result.current.readUpTo).toBeNull();
  rerender({ value: chat([message(1), message(2), message(3)]), isLooking: false });
  rerender({ value: chat([message(1), message(2), message(3), message(4)]), isLooking: false });
  expect(result.current).toEqual({ readUpTo: 2, openedAt: 1 });
});
