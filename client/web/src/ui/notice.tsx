/** A short message that goes by itself: something failed, or was done. */

import { useCallback, useEffect, useState, type ReactElement } from "react";

const SHOWN_FOR = 6_000;

export interface Notices {
  notify: (text: string) => void;
  /** To be put where it should appear. */
  notice: ReactElement;
}

export function useNotice(): Notices {
  const [shown, setShown] = useState<{ text: string } | null>(null);
  const notify = useCallback((text: string) => { setShown({ text }); }, []);
  useEffect(() => {
    if (!shown) return undefined;
    const timer = setTimeout(() => { setShown(null); }, SHOWN_FOR);
    return () => { clearTimeout(timer); };
  }, [shown]);
  // The region is always there: screen readers hear what changes in one, not what comes with it.
  const notice = <div className="notice" role="status">{shown && <p>{shown.text}</p>}</div>;
  return { notify, notice };
}
