/** Placeholder where there is nothing to show, with the reason. */

import type { ReactElement, ReactNode } from "react";

import { Icon, type IconName } from "./icon";

export interface EmptyProps {
  icon: IconName;
  title: string;
  hint?: string;
  /** 1 where it is what the whole page is about. */
  level?: 1 | 2;
  children?: ReactNode;
}

export function Empty({ icon, title, hint, level = 2, children }: EmptyProps): ReactElement {
  const Heading = `h${level}` as const;
  return (
    <div className="empty">
      <span className="empty-icon"><Icon name={icon} /></span>
      <Heading>{title}</Heading>
      {hint !== undefined && <p>{hint}</p>}
      {children}
    </div>
  );
}
