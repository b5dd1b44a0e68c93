/**
 * Scroll position of the reader in the log, kept where it is: at the newest message
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
  /** An unread message is above what is visible. */
  isUnseenAbove: boolean;
  onScroll: () => void;
  toBottom: () => void;
  /** The next messages that are shown are others: they begin at the unread mark, or end at the bottom. */
  arriveAgain: (at: "mark" | "bottom") => void;
  /** Brings a message into the middle; false when it is not in the log. */
  toMessage: (key: string) => boolean;
}

const BOTTOM = 48;
/** Room for the day and the unread mark above a message. */
const HEADROOM = 88;
const NEAR = 600;

export interface LogContent {
  /** Changes with what is shown. */
  version: unknown;
  isEmpty: boolean;
  /** The newest message is among those that are shown. */
  isLive: boolean;
  /** Called when the oldest, or the newest of those that are shown, come near. */
  onNearTop: () => void;
  onNearBottom: () => void;
}

export function useLogScroll({ scrollerRef, contentRef }: LogElements, content: LogContent): LogScroll {
  const { version, isEmpty, isLive, onNearTop, onNearBottom } = content;
  const position = useRef<Position | null>(null);
  const arrival = useRef<"mark" | "bottom">("mark");
  const size = useRef("");
  const [isAtBottom, setAtBottom] = useState(false);
  const [isUnseenAbove, setUnseenAbove] = useState(false);

  const remember = useCallback(() => {
    const element = scrollerRef.current;
    if (!element) return;
    position.current = look(element, isLive);
    size.current = measure(element);
    setAtBottom(position.current.at === "bottom");
    setUnseenAbove((unseenTop(element) ?? 0) < 0);
  }, [scrollerRef, isLive]);

  const settle = useCallback(() => {
    const element = scrollerRef.current;
    if (!element) return;
    if (position.current === null) arrive(element, arrival.current);
    else restore(element, position.current);
    remember();
  }, [scrollerRef, remember]);

  useLayoutEffect(() => { if (!isEmpty) settle(); }, [version, isEmpty, settle]);
  const loadNear = useCallback(() => {
    const element = scrollerRef.current;
    if (!element || position.current === null) return;
    if (element.scrollTop < NEAR) onNearTop();
    if (!isLive && element.scrollHeight - element.scrollTop - element.clientHeight < NEAR) onNearBottom();
  }, [scrollerRef, isLive, onNearTop, onNearBottom]);
  useEffect(() => { if (!isEmpty) loadNear(); }, [version, isEmpty, loadNear]);
  useEffect(() => {
    const observer = new ResizeObserver(() => { if (position.current) settle(); });
    for (const { current } of [scrollerRef, contentRef]) if (current) observer.observe(current);
    return () => { observer.disconnect(); };
  }, [scrollerRef, contentRef, settle]);

  const onScroll = useCallback(() => {
    if (position.current === null) return;
    // A change of size scrolls too, but it is not the reader who does it.
    if (scrollerRef.current && size.current !== measure(scrollerRef.current)) settle();
    else remember();
    loadNear();
  }, [scrollerRef, remember, settle, loadNear]);

  const toBottom = useCallback(() => {
    const element = scrollerRef.current;
    if (element) element.scrollTop = element.scrollHeight;
    remember();
  }, [scrollerRef, remember]);

  const arriveAgain = useCallback((at: "mark" | "bottom") => {
    position.current = null;
    arrival.current = at;
  }, []);

  const toMessage = useCallback((key: string) => {
    const target = scrollerRef.current && find(scrollerRef.current, key);
    target?.scrollIntoView({ block: "center", behavior: "instant" });
    return Boolean(target);
  }, [scrollerRef]);

  return { isAtBottom: isAtBottom && isLive, isUnseenAbove, onScroll, toBottom, arriveAgain, toMessage };
}

/** The first time: at the unread mark, else at the end. */
function arrive(element: HTMLElement, at: "mark" | "bottom"): void {
  const mark = at === "mark" ? element.querySelector<HTMLElement>("[data-unread-mark]") : null;
  if (mark) element.scrollTop += mark.getBoundingClientRect().top - element.getBoundingClientRect().top - element.clientHeight / 4;
  else element.scrollTop = element.scrollHeight;
}

function measure(element: HTMLElement): string {
  return `${element.clientWidth} ${element.clientHeight} ${element.scrollHeight}`;
}

/** Distance from the upper edge to the first unread message, px. */
function unseenTop(element: HTMLElement): number | undefined {
  const first = element.querySelector("[data-unseen]");
  return first ? first.getBoundingClientRect().top - element.getBoundingClientRect().top : undefined;
}

/** At the bottom, or at the first message that is visible. */
function look(element: HTMLElement, isLive: boolean): Position {
  if (isLive && element.scrollHeight - element.scrollTop - element.clientHeight <= BOTTOM) return { at: "bottom" };
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
    // Whoever is at the bottom stays there, but no unread message is pushed out at the top.
    const top = unseenTop(element);
    const room = top === undefined || top < 0 ? Infinity : Math.max(0, top - HEADROOM);
    element.scrollTop = Math.min(element.scrollHeight, element.scrollTop + room);
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
