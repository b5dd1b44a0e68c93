/** A button that opens a menu: arrow keys move, Escape closes, focus returns to the button. */

import { useEffect, useId, useLayoutEffect, useRef, useState, type KeyboardEvent, type ReactElement } from "react";

import { Icon, type IconName } from "./icon";

export interface MenuItem {
  label: string;
  icon?: IconName;
  onSelect: () => void;
  /** One of several choices of which one holds. */
  isChecked?: boolean;
  isDanger?: boolean;
}

export interface MenuGroup {
  /** Said and shown above its items. */
  label?: string;
  items: MenuItem[];
}

export interface MenuProps {
  label: string;
  /** Asked for each time the menu opens. */
  groups: () => MenuGroup[];
  icon?: IconName;
  className?: string;
  tabIndex?: number;
}

const MARGIN = 8;

export function Menu({ label, groups, icon = "more", className = "", tabIndex = 0 }: MenuProps): ReactElement {
  const [isOpen, setOpen] = useState(false);
  const [button, setButton] = useState<HTMLButtonElement | null>(null);
  const id = useId();
  const close = (isReturning: boolean): void => {
    setOpen(false);
    if (isReturning) button?.focus();
  };
  return (
    <>
      <button
        ref={setButton} type="button" className={`icon-button ${className}`} tabIndex={tabIndex}
        aria-label={label} title={label} aria-haspopup="menu" aria-expanded={isOpen}
        aria-controls={isOpen ? id : undefined} data-menu-button=""
        onClick={(event) => {
          event.stopPropagation();
          setOpen(!isOpen);
        }}
      >
        <Icon name={icon} />
      </button>
      {isOpen && <MenuList id={id} label={label} groups={groups()} button={button} onClose={close} />}
    </>
  );
}

interface MenuListProps {
  id: string;
  label: string;
  groups: MenuGroup[];
  button: HTMLElement | null;
  onClose: (isReturning: boolean) => void;
}

function MenuList({ id, label, groups, button, onClose }: MenuListProps): ReactElement {
  const list = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    if (!list.current || !button) return;
    list.current.showPopover(); // above everything, whatever scrolls or clips around it
    place(list.current, button.getBoundingClientRect());
    (list.current.querySelector<HTMLElement>("[aria-checked=true]") ?? items(list.current)[0])?.focus();
  }, [button]);
  useDismissal(list, button, onClose);

  const onKeyDown = (event: KeyboardEvent): void => {
    event.stopPropagation();
    if (event.key === "Tab") onClose(true);
    if (event.key === "Escape") onClose(true);
    if (list.current && move(list.current, event.key)) event.preventDefault();
  };
  return (
    <div
      ref={list} id={id} className="menu" role="menu" aria-label={label} tabIndex={-1} popover="manual"
      onKeyDown={onKeyDown} onClick={(event) => { event.stopPropagation(); }}
    >
      {groups.map((group, index) => (
        <div key={group.label ?? index} className="menu-group" role="group" aria-label={group.label}>
          {group.label !== undefined && <div className="menu-label" aria-hidden="true">{group.label}</div>}
          {group.items.map((item) => (
            <button
              key={item.label} type="button" className="menu-item" tabIndex={-1}
              data-danger={item.isDanger}
              {...(item.isChecked === undefined
                ? { role: "menuitem" } : { role: "menuitemradio", "aria-checked": item.isChecked })}
              onClick={() => {
                onClose(true);
                item.onSelect();
              }}
            >
              {item.icon && <Icon name={item.icon} />}
              <span>{item.label}</span>
              {item.isChecked && <Icon name="check" />}
            </button>
          ))}
        </div>
      ))}
    </div>
  );
}

/** Whatever happens elsewhere closes the menu. */
function useDismissal(
  list: { current: HTMLElement | null }, button: HTMLElement | null, onClose: (isReturning: boolean) => void,
): void {
  const latest = useRef(onClose);
  useEffect(() => { latest.current = onClose; });
  useEffect(() => {
    const elsewhere = (event: Event): void => {
      const target = event.target as Node;
      if (!list.current?.contains(target) && !button?.contains(target)) latest.current(false);
    };
    const resized = (): void => { latest.current(false); };
    document.addEventListener("pointerdown", elsewhere);
    document.addEventListener("scroll", elsewhere, true);
    window.addEventListener("resize", resized);
    return () => {
      document.removeEventListener("pointerdown", elsewhere);
      document.removeEventListener("scroll", elsewhere, true);
      window.removeEventListener("resize", resized);
    };
  }, [list, button]);
}

/** Under the button, its end at the button's end; above or to the side where there is no room. */
function place(list: HTMLElement, button: DOMRect): void {
  const { offsetWidth: width, offsetHeight: height } = list;
  const below = button.bottom + 4;
  const top = below + height > window.innerHeight - MARGIN ? button.top - height - 4 : below;
  const left = button.right - width;
  list.style.top = `${Math.max(MARGIN, top)}px`;
  list.style.left = `${Math.min(Math.max(MARGIN, left), window.innerWidth - width - MARGIN)}px`;
}

function items(list: HTMLElement): HTMLElement[] {
  return [...list.querySelectorAll<HTMLElement>("[role^=menuitem]")];
}

function move(list: HTMLElement, key: string): boolean {
  const all = items(list);
  const at = all.indexOf(document.activeElement as HTMLElement);
  const targets: Record<string, number> = {
    ArrowDown: (at + 1) % all.length,
    ArrowUp: (at - 1 + all.length) % all.length,
    Home: 0,
    End: all.length - 1,
  };
  const target = targets[key];
  if (target === undefined) return false;
  all[target]?.focus();
  return true;
}
