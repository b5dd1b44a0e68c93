/**
 * Where the reader is in the log, and that they stay there: at the newest message
 * while they are at the bottom, otherwise at the message that they look at, whatever is
 * added above or below, loads late or changes its size.
 */

import { useCallback, useEffect, useLayoutEffect, useRef, useState, type RefObject } from "react";

type Position = { at: "bottom" } | { at: "message"; key: string; offset: number };

export interface LogElements {
  scrollerRef: RefObject<HTMLElement | null>;
  /** All that scrolls. */
  contentRef: RefObject<HTMLElement | null>;
}

export interface LogScroll {
  /** The newest message is visible. */
  isAtBottom: boolean;
  onScroll: () => void;
  toBottom: () => void;
  /** Brings a message into the middle; false when it is not in the log. */
  toMessage: (key: string) => boolean;
}

const BOTTOM = 48;
const NEAR_TOP = 600;

/** `version` changes with what is shown; `onNearTop` is called when the oldest ones come near. */
export function useLogScroll(
  { scrollerRef, contentRef }: LogElements, version: unknown, isEmpty: boolean, onNearTop: () => void,
): LogScroll {
  const position = useRef<Position | null>(null);
  const size = useRef("");
  const [isAtBottom, setAtBottom] = useState(false);

  const remember = useCallback(() => {
    const element = scrollerRef.current;
    if (!element) return;
    position.current = look(element);
    size.current = measure(element);
    setAtBottom(position.current.at === "bottom");
  }, [scrollerRef]);

  const settle = useCallback(() => {
    const element = scrollerRef.current;
    if (!element) return;
    if (position.current === null) arrive(element);
    else restore(element, position.current);
    remember();
  }, [scrollerRef, remember]);

  useLayoutEffect(() => { if (!isEmpty) settle(); }, [version, isEmpty, settle]);
  useEffect(() => {
    if (!isEmpty && (scrollerRef.current?.scrollTop ?? NEAR_TOP) < NEAR_TOP) onNearTop();
  }, [scrollerRef, version, isEmpty, onNearTop]);
  useEffect(() => {
    const observer = new ResizeObserver(() => { if (position.current) settle(); });
    for (const { current } of [scrollerRef, contentRef]) if (current) observer.observe(current);
    return () => { observer.disconnect(); };
  }, [scrollerRef, contentRef, settle]);

  const onScroll = useCallback(() => {
    // A change of size scrolls too, but it is not the reader who does it.
    if (scrollerRef.current && size.current !== measure(scrollerRef.current)) settle();
    else remember();
    if ((scrollerRef.current?.scrollTop ?? NEAR_TOP) < NEAR_TOP) onNearTop();
  }, [scrollerRef, remember, settle, onNearTop]);

  const toBottom = useCallback(() => {
    position.current = { at: "bottom" };
    settle();
  }, [settle]);

  const toMessage = useCallback((key: string) => {
    const target = scrollerRef.current && find(scrollerRef.current, key);
    target?.scrollIntoView({ block: "center", behavior: "instant" });
    return Boolean(target);
  }, [scrollerRef]);

  return { isAtBottom, onScroll, toBottom, toMessage };
}

/** The first time: at the unread mark, else at the end. */
function arrive(element: HTMLElement): void {
  const mark = element.querySelector<HTMLElement>("[data-unread-mark]");
  if (mark) element.scrollTop += mark.getBoundingClientRect().top - element.getBoundingClientRect().top - element.clientHeight / 4;
  else element.scrollTop = element.scrollHeight;
}

function measure(element: HTMLElement): string {
  return `${element.clientWidth} ${element.clientHeight} ${element.scrollHeight}`;
}

/** At the bottom, or at the first message that is visible. */
function look(element: HTMLElement): Position {
  if (element.scrollHeight - element.scrollTop - element.clientHeight <= BOTTOM) return { at: "bottom" };
  const { top } = element.getBoundingClientRect();
  const all = element.querySelectorAll<HTMLElement>("[data-key]");
  let [low, high] = [0, all.length - 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((all[middle]?.getBoundingClientRect().bottom ?? 0) > top) high = middle;
    else low = middle + 1;
  }
  const first = all[low];
  if (first?.dataset.key === undefined) return { at: "bottom" };
  return { at: "message", key: first.dataset.key, offset: first.getBoundingClientRect().top - top };
}

function restore(element: HTMLElement, position: Position): void {
  if (position.at === "bottom") {
    element.scrollTop = element.scrollHeight;
    return;
  }
  const target = find(element, position.key);
  if (!target) return;
  const moved = target.getBoundingClientRect().top - element.getBoundingClientRect().top - position.offset;
  if (Math.abs(moved) >= 1) element.scrollTop += moved;
}

function find(element: HTMLElement, key: string): HTMLElement | null {
  return element.querySelector<HTMLElement>(`[data-key="${CSS.escape(key)}"]`);
}
