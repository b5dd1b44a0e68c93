/** Which conversation is open, and what the back button does. */

import { act, renderHook } from "@testing-library/react";
import { beforeEach, expect, test } from "vitest";

import { closeConversation, openConversation, useOpenConversation } from "../src/navigation";

beforeEach(() => { history.replaceState(null, "", "/"); });

test("opening adds one step of history, and the next conversation none", () => {
  const { result } = renderHook(() => useOpenConversation());
  expect(result.current).toBeNull();
  const before = history.length;
  act(() => { openConversation("a"); });
  act(() => { openConversation("b/c"); });
  expect(result.current).toBe("b/c");
  expect(history.length).toBe(before + 1);
});

test("a conversation that the link opened closes to the list, too", () => {
  history.replaceState(null, "", "/#conversation=a");
  const { result } = renderHook(() => useOpenConversation());
  expect(result.current).toBe("a");
  act(() => { closeConversation(); });
  expect(result.current).toBeNull();
  expect(location.hash).toBe("");
});
