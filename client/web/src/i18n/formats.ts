/** Dates, times and prices in the reader's language and time zone. */

/** Ready-made formatters of one language; times are RFC 3339 or `Date`. */
export interface Formats {
  /** 14:05, or as the region writes it */
  time: (when: string) => string;
  /** Today, yesterday, a weekday, or a date: for a list. */
  short: (when: string) => string;
  /** Today, yesterday, or a date in full: between the days of a conversation. */
  day: (when: string) => string;
  /** A day and a time: for a tooltip. */
  full: (when: string) => string;
  /** "today 14:05", "12 Mar 14:05": after "last seen". */
  moment: (when: string) => string;
  /** Without decimals where there are none. */
  price: (amount: number, currency: string | null) => string;
  number: (value: number) => string;
  /** "Lucía y Javier" */
  list: (names: readonly string[]) => string;
}

const DAY = 86_400_000;

export function createFormats(locale: string, now: () => Date = () => new Date()): Formats {
  const formatter = (options: Intl.DateTimeFormatOptions): ((when: string) => string) => {
    const format = new Intl.DateTimeFormat(locale, options);
    return (when) => format.format(new Date(when));
  };
  const time = formatter({ timeStyle: "short" });
  const weekday = formatter({ weekday: "short" });
  const date = formatter({ day: "numeric", month: "short" });
  const dated = formatter({ day: "numeric", month: "numeric", year: "2-digit" });
  const longDay = formatter({ weekday: "long", day: "numeric", month: "long" });
  const longDate = formatter({ day: "numeric", month: "long", year: "numeric" });
  const relative = new Intl.RelativeTimeFormat(locale, { numeric: "auto" });
  const lists = new Intl.ListFormat(locale, { type: "conjunction" });
  const number = new Intl.NumberFormat(locale);
  const age = (when: string): number => daysBetween(new Date(when), now());
  const isThisYear = (when: string): boolean => new Date(when).getFullYear() === now().getFullYear();
  const near = (when: string): string | undefined => {
    const days = age(when);
    return days === 0 || days === 1 ? relative.format(-days, "day") : undefined;
  };
  return {
    time,
    short: (when) => {
      const days = age(when);
      if (days <= 0) return time(when);
      if (days === 1) return relative.format(-1, "day");
      return days < 7 ? weekday(when) : isThisYear(when) ? date(when) : dated(when);
    },
    day: (when) => capitalized(near(when) ?? (isThisYear(when) ? longDay(when) : longDate(when))),
    full: formatter({ dateStyle: "full", timeStyle: "short" }),
    moment: (when) => `${near(when) ?? (isThisYear(when) ? date(when) : dated(when))} ${time(when)}`,
    price: (amount, currency) => price(locale, amount, currency),
    number: (value) => number.format(value),
    list: (names) => lists.format(names),
  };
}

/** The calendar day of a moment, here: the same text for the same day. */
export function dayOf(when: string): string {
  const date = new Date(when);
  return `${date.getFullYear()}-${date.getMonth() + 1}-${date.getDate()}`;
}

function daysBetween(first: Date, second: Date): number {
  const start = (date: Date): number => new Date(date.getFullYear(), date.getMonth(), date.getDate()).getTime();
  return Math.round((start(second) - start(first)) / DAY); // a day of summer time has 23 or 25 hours
}

function capitalized(text: string): string {
  return text.charAt(0).toLocaleUpperCase() + text.slice(1);
}

function price(locale: string, amount: number, currency: string | null): string {
  const digits = Number.isInteger(amount) ? { maximumFractionDigits: 0 } : {};
  // Spanish leaves four digits ungrouped; prices read better with the point.
  const options: Intl.NumberFormatOptions = { ...digits, useGrouping: "always" as const };
  try {
    return new Intl.NumberFormat(locale, currency ? { ...options, style: "currency", currency } : options).format(amount);
  } catch {
    return `${amount} ${currency ?? ""}`.trim(); // no currency that Intl knows
  }
}
