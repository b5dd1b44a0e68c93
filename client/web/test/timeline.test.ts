/** Days, runs and the unread mark. */

import { expect, test } from "vitest";

import { countUnread, layOut } from "../src/pane/timeline";
import { message } from "./kit";

const at = (day: number, minute: number): string => new Date(2026, 2, day, 12, minute).toISOString();
const marks = (days: ReturnType<typeof layOut>): (number | null)[] =>
  days.flatMap((day) => day.items.filter((item) => item.isFirstUnread).map((item) => item.message.seq));

test("each calendar day of the reader stands by itself", () => {
  const days = layOut([1, 2, 3].map((seq) => message(seq, { created_at: at(seq === 3 ? 11 : 10, seq) })), null, false);
  expect(days.map((day) => day.items.map((item) => item.message.seq))).toEqual([[1, 2], [3]]);
});

test("a run ends with another sender, after a pause and at the end of the day", () => {
  const messages = [
    message(1, { created_at: at(10, 0) }), message(2, { created_at: at(10, 4) }),
    message(3, { created_at: at(10, 10) }), message(4, { created_at: at(10, 11), sender_id: "me", isOwn: true }),
  ];
  const items = layOut(messages, null, false).flatMap((day) => day.items);
  expect(items.map((item) => item.startsRun)).toEqual([true, false, true, true]);
  expect(items.map((item) => item.endsRun)).toEqual([false, true, true, true]);
});

test("the unread ones begin with the first message of the other after what was read", () => {
  const messages = [message(1), message(2, { isOwn: true, sender_id: "me" }), message(3), message(4)];
  expect(marks(layOut(messages, 1, false))).toEqual([3]);
  expect(countUnread(messages, 1)).toBe(2);
  expect(marks(layOut(messages, null, false))).toEqual([]);
  expect(marks(layOut(messages, 4, false))).toEqual([]);
});

test("there is no mark while the first unread message may not be loaded yet", () => {
  expect(marks(layOut([message(8), message(9)], 3, true))).toEqual([]);
  expect(marks(layOut([message(8), message(9)], 8, true))).toEqual([9]);
  expect(marks(layOut([message(1), message(2)], 0, false))).toEqual([1]);
});
