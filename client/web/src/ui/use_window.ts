/** State of the window at this moment. */

import { useSyncExternalStore } from "react";

/** True while the reader looks at this page: visible, and the keyboard is here. */
export function useIsFocused(): boolean {
  return useSyncExternalStore(subscribeFocus, () => document.visibilityState === "visible" && document.hasFocus());
}

/** True while the machine has a network at all. */
export function useHasNetwork(): boolean {
  return useSyncExternalStore(subscribeNetwork, () => navigator.onLine);
}

/** True if writing would open a keyboard over the page, so that focus must not move there unasked. */
export function isTouch(): boolean {
  return window.matchMedia("(pointer: coarse)").matches;
}

function subscribeFocus(listener: () => void): () => void {
  return listen([[window, "focus"], [window, "blur"], [document, "visibilitychange"]], listener);
}

function subscribeNetwork(listener: () => void): () => void {
  return listen([[window, "online"], [window, "offline"]], listener);
}

function listen(sources: [EventTarget, string][], listener: () => void): () => void {
  for (const [target, event] of sources) target.addEventListener(event, listener);
  return () => { for (const [target, event] of sources) target.removeEventListener(event, listener); };
}
