/** Text stays text; only web addresses become links. */

import { render } from "@testing-library/react";
import { expect, test } from "vitest";

import { MessageText } from "../src/pane/message_text";

function show(text: string): { text: string | null; links: string[] } {
  const { container } = render(<MessageText text={text} />);
  return { text: container.textContent, links: [...container.querySelectorAll("a")].map((link) => link.getAttribute("href") ?? "") };
}

test("an address is a link, without the sentence around it", () => {
  const text = "Mira (https://example.com/a?b=1), o http://example.org.";
  expect(show(text)).toEqual({ text, links: ["https://example.com/a?b=1", "http://example.org"] });
});

test.each([
  "javascript:alert(1)", "javascript://example.com/%0aalert(1)", "ftp://example.com/a", "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "data:text/html,x", "https://", "a < b",
])("%s is inert", (text) => {
  expect(show(text)).toEqual({ text, links: [] });
});
