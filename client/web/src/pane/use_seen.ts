/** Unread messages that were on the screen while somebody looked: from their first line to their last. */

import type { Chat } from "chatserver-client/react";
import { useCallback, useEffect, useRef, type RefObject } from "react";

import { seenUpTo } from "./use_reading";

/**
 * Each unread message has an element with `data-edge` at its top and one at its bottom,
 * with `data-seq`. Both have to have been in view, though a long message may have shown
 * them one after the other; then it is read, if all before it are.
 */
export function useSeen(scrollerRef: RefObject<HTMLElement | null>, chat: Chat, isFocused: boolean): void {
  const { messages, conversation, markRead } = chat;
  const readSeq = conversation?.read_seq ?? 0;
  const visible = useRef(new Set<string>());
  const seen = useRef(new Set<string>());
  const advance = useCallback(() => {
    if (!isFocused) return;
    for (const edge of visible.current) seen.current.add(edge);
    const upTo = seenUpTo(messages, readSeq, (seq) => seen.current.has(`${seq} start`) && seen.current.has(`${seq} end`));
    if (upTo !== undefined) markRead(upTo);
  }, [isFocused, messages, readSeq, markRead]);
  const latest = useRef(advance);
  useEffect(() => {
    latest.current = advance;
    advance();
  }, [advance]);

  useEffect(() => {
    const root = scrollerRef.current;
    if (!root) return undefined;
    visible.current.clear();
    const observer = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) {
        const { seq = "", edge = "" } = (target as HTMLElement).dataset;
        if (isIntersecting) visible.current.add(`${seq} ${edge}`);
        else visible.current.delete(`${seq} ${edge}`);
      }
      latest.current();
    }, { root });
    for (const edge of root.querySelectorAll("[data-edge]")) observer.observe(edge);
    return () => { observer.disconnect(); };
  }, [scrollerRef, messages, readSeq]);
}
