/**
 * Moving through a list with the arrow keys: one stop for the Tab key, Home and End
 * jump. Items are the elements with `data-key`, wherever in the list they are.
 */

import { useCallback, useState, type FocusEvent, type KeyboardEvent } from "react";

export interface Roving {
  /** Whose item has the tab stop; null: the caller's choice. */
  activeKey: string | null;
  /** For the list's element. */
  handlers: {
    onKeyDown: (event: KeyboardEvent<HTMLElement>) => void;
    onFocus: (event: FocusEvent<HTMLElement>) => void;
  };
}

const STEPS: Record<string, (at: number, count: number) => number> = {
  ArrowDown: (at, count) => Math.min(at + 1, count - 1),
  ArrowUp: (at) => Math.max(at - 1, 0),
  Home: () => 0,
  End: (_, count) => count - 1,
};

export function useRoving(): Roving {
  const [activeKey, setActiveKey] = useState<string | null>(null);
  const onFocus = useCallback((event: FocusEvent<HTMLElement>) => {
    const item = event.target.closest<HTMLElement>("[data-key]");
    if (item?.dataset.key !== undefined) setActiveKey(item.dataset.key);
  }, []);
  const onKeyDown = useCallback((event: KeyboardEvent<HTMLElement>) => {
    const step = STEPS[event.key];
    if (!step || event.altKey || event.ctrlKey || event.metaKey) return;
    const all = [...event.currentTarget.querySelectorAll<HTMLElement>("[data-key]")];
    const at = all.findIndex((item) => item.contains(event.target as Node));
    if (at < 0) return;
    event.preventDefault();
    all[step(at, all.length)]?.focus();
  }, []);
  return { activeKey, handlers: { onKeyDown, onFocus } };
}
