/** The page's icons: strokes on a grid of 24, in the colour of the text around them. */

import type { ReactElement } from "react";

const PATHS = {
  alert: "M12 8v5M12 16.5v.01M12 3.5 2.5 20h19z",
  archive: "M4 8h16v11a1 1 0 0 1-1 1H5a1 1 0 0 1-1-1zM3 4h18v4H3zM10 12h4",
  back: "M19 12H5M11 6l-6 6 6 6",
  chat: "M4 5h16a1 1 0 0 1 1 1v10a1 1 0 0 1-1 1h-8l-5 4v-4H4a1 1 0 0 1-1-1V6a1 1 0 0 1 1-1zM8 11h.01M12 11h.01M16 11h.01",
  check: "m4.5 12.5 5 5 10-11",
  clock: "M12 4a8 8 0 1 1 0 16 8 8 0 0 1 0-16zM12 8v4.500l3 1.500",
  close: "m6 6 12 12M18 6 6 18",
  copy: "M9 8h10a1 1 0 0 1 1 1v10a1 1 0 0 1-1 1H9a1 1 0 0 1-1-1V9a1 1 0 0 1 1-1zM16 8V5a1 1 0 0 0-1-1H5a1 1 0 0 0-1 1v10a1 1 0 0 0 1 1h3",
  document: "M6 3h8l5 5v12a1 1 0 0 1-1 1H6a1 1 0 0 1-1-1V4a1 1 0 0 1 1-1zM14 3v5h5",
  down: "M12 5v14M6 13l6 6 6-6",
  edit: "m4 20 1-4L16 5l3 3L8 19zM14 7l3 3",
  house: "M4 11 12 4l8 7v8a1 1 0 0 1-1 1h-4v-6H9v6H5a1 1 0 0 1-1-1z",
  key: "M8 16a4 4 0 1 1 3.5-6H20l1.5 2-1.5 2h-2l-1.5-1.5L15 14h-3.5A4 4 0 0 1 8 16zM7.5 12h.01",
  more: "M12 5.5v.01M12 12v.01M12 18.5v.01",
  photo: "M4 5h16a1 1 0 0 1 1 1v12a1 1 0 0 1-1 1H4a1 1 0 0 1-1-1V6a1 1 0 0 1 1-1zM3 16l5-5 5 5 3-3 5 4M15.5 9.5v.01",
  reply: "M10 7 4 12l6 5v-3.5c5 0 8 1.500 10 4.500-.5-5-3.500-8-10-8.500z",
  retry: "M19 12a7 7 0 1 1-2-5l2 2M19 4v5h-5",
  search: "M11 5a6 6 0 1 1 0 12 6 6 0 0 1 0-12zM15.500 15.500 20 20",
  send: "M4 12 3 4l18 8-18 8zM4 12h8",
  settings: "M4 7h9M17 7h3M15 5v4M4 17h3M11 17h9M9 15v4",
  up: "M12 19V5M6 11l6-6 6 6",
  shield: "M12 3.5 5 6v6c0 4.500 3 7 7 8.500 4-1.500 7-4 7-8.500V6z",
  trash: "M4 7h16M9 7V4h6v3M6 7l1 13h10l1-13M10 11v5M14 11v5",
} as const;

export type IconName = keyof typeof PATHS;

/** Decoration only: what it stands beside says what it means. */
export function Icon({ name }: { name: IconName }): ReactElement {
  return (
    <svg className="icon" data-name={name} viewBox="0 0 24 24" aria-hidden="true" focusable="false">
      <path d={PATHS[name]} />
    </svg>
  );
}
