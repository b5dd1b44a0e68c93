/**
 * Open conversation: `#conversation=<id>` in the address, so that a reload and
 * the browser's (or phone's) back button do what people expect.
 */

import { useSyncExternalStore } from "react";

interface PageState {
  /** The list is the entry before this one. */
  fromList?: boolean;
}

const listeners = new Set<() => void>();

/** The open conversation's id, or null while only the list is shown. */
export function useOpenConversation(): string | null {
  return useSyncExternalStore(subscribe, current);
}

/** Back always leads to the list, however many conversations were looked at. */
export function openConversation(id: string): void {
  const url = `#conversation=${encodeURIComponent(id)}`;
  if (current() === null) history.pushState({ fromList: true } satisfies PageState, "", url);
  else history.replaceState(history.state, "", url);
  emit();
}

export function closeConversation(): void {
  if ((history.state as PageState | null)?.fromList) {
    history.back(); // `popstate` tells the rest
    return;
  }
  history.replaceState(null, "", `${location.pathname}${location.search}`);
  emit();
}

function current(): string | null {
  return new URLSearchParams(location.hash.slice(1)).get("conversation");
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  window.addEventListener("popstate", listener);
  window.addEventListener("hashchange", listener);
  return () => {
    listeners.delete(listener);
    window.removeEventListener("popstate", listener);
    window.removeEventListener("hashchange", listener);
  };
}

function emit(): void {
  for (const listener of listeners) listener();
}
