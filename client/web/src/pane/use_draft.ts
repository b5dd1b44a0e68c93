/** Draft that was written but not sent: it waits in its conversation, also over a reload of the window. */

import { useCallback, useState } from "react";

export function useDraft(conversationId: string): [string, (text: string) => void] {
  const key = `chatserver:draft:${conversationId}`;
  const [text, setText] = useState(() => read(key));
  const keep = useCallback((next: string) => {
    setText(next);
    try {
      if (next === "") sessionStorage.removeItem(key);
      else sessionStorage.setItem(key, next);
    } catch { /* it lasts as long as the page */ }
  }, [key]);
  return [text, keep];
}

function read(key: string): string {
  try {
    return sessionStorage.getItem(key) ?? "";
  } catch {
    return "";
  }
}
