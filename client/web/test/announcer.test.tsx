/** What screen readers are told while a conversation is open. */

import type { Chat } from "chatserver-client/react";
import { screen } from "@testing-library/react";
import type { ReactElement } from "react";
import { expect, test } from "vitest";

import { Announcer } from "../src/pane/announcer";
import { chat, message, people, renderPage } from "./kit";

const reading = { readUpTo: null, markedCount: 0, openedAt: 10, mark: () => undefined };

function announcer(value: Chat): ReactElement {
  return <Announcer chat={value} people={people()} reading={reading} newCount={0} />;
}

function told(): string | null {
  return screen.getByTestId("announcer").textContent;
}

test("what comes is read out, the last three, and what was there is not", () => {
  const messages = [9, 10, 11, 12, 13, 14].map((seq) => message(seq));
  renderPage(announcer(chat(messages, { last_seq: 14 })));
  expect(told()).toBe("Javier Moreno: text 12Javier Moreno: text 13Javier Moreno: text 14");
});

test("below what is shown, messages are counted when one comes and not when one is read", () => {
  const past = (last_seq: number, unread_count: number): Chat => ({ ...chat([message(1)], { last_seq, unread_count }), hasNewer: true });
  const { rerender } = renderPage(announcer(past(10, 7)));
  expect(told()).toBe("");
  rerender(announcer(past(11, 7)));
  expect(told()).toBe("");
  rerender(announcer(past(11, 8)));
  expect(told()).toBe("8 mensajes nuevos más abajo");
  rerender(announcer(past(11, 6)));
  expect(told()).toBe("8 mensajes nuevos más abajo");
  rerender(announcer(past(12, 6)));
  rerender(announcer(past(12, 7)));
  expect(told()).toBe("7 mensajes nuevos más abajo");
});
