/** Preferences of the reader: language and theme, kept in this browser. */

import { createContext, useContext, useEffect, useMemo, useState, type ReactElement, type ReactNode } from "react";

import { en } from "./i18n/en";
import { es, type Dictionary } from "./i18n/es";
import { createFormats, type Formats } from "./i18n/formats";

export type Language = "es" | "en";
export type Theme = "system" | "light" | "dark";

export interface Preferences {
  language: Language;
  setLanguage: (language: Language) => void;
  theme: Theme;
  setTheme: (theme: Theme) => void;
  t: Dictionary;
  format: Formats;
}

export const LANGUAGE_NAMES: Record<Language, string> = { es: "Español", en: "English" };
const DICTIONARIES: Record<Language, Dictionary> = { es, en };
const PreferencesContext = createContext<Preferences | null>(null);

/** Gives the words and formats of the chosen language to everything below it. */
export function PreferencesProvider({ children }: { children: ReactNode }): ReactElement {
  const [language, setLanguage] = useKept<Language>("language", ["es", "en"], preferredLanguage);
  const [theme, setTheme] = useKept<Theme>("theme", ["system", "light", "dark"], () => "system");
  useEffect(() => { document.documentElement.lang = language; }, [language]);
  useEffect(() => { document.documentElement.dataset.theme = theme; }, [theme]);
  const value = useMemo<Preferences>(() => ({
    language, setLanguage, theme, setTheme, t: DICTIONARIES[language], format: createFormats(locale(language)),
  }), [language, setLanguage, theme, setTheme]);
  return <PreferencesContext.Provider value={value}>{children}</PreferencesContext.Provider>;
}

export function usePreferences(): Preferences {
  const preferences = useContext(PreferencesContext);
  if (!preferences) throw new Error("There is no <PreferencesProvider> around this component.");
  return preferences;
}

/** Fields of an error that the page needs; a `ChatRequestError` and a plain `ChatError` both have it. */
export interface ShownError {
  code: string;
  retryAfter?: number | undefined;
  retry_after?: number | undefined;
  fields?: Record<string, string[]> | undefined;
}

/** The reader's words for an error: which field is wrong and how, or how long to wait. */
export function errorText(t: Dictionary, error: ShownError): string {
  const wait = error.retryAfter ?? error.retry_after;
  if (error.code === "rate_limited" && wait !== undefined) return t.waitSeconds(Math.ceil(wait));
  const problems = Object.entries(error.fields ?? {}).map(([field, found]) => problemText(t, field, found));
  return problems.length > 0 ? problems.join(" ") : t.errors[error.code] ?? t.unknownError;
}

/** Text of a field's problem; one of a newer server is told in English. */
function problemText(t: Dictionary, field: string, problems: readonly string[]): string {
  const said = problems.map((problem) => t.problem(problem) ?? problem.replace(/\.$/, ""));
  return `${t.fields[field] ?? field}: ${said.join(", ")}.`;
}

/** Spanish for those who prefer it to English, in the order of the browser's list. */
export function preferredLanguage(): Language {
  for (const tag of navigator.languages) {
    const language = tag.slice(0, 2).toLowerCase();
    if (language === "es" || language === "en") return language;
  }
  return "en";
}

/** The browser's own region of the language where it has one: en-US rather than en. */
function locale(language: Language): string {
  return navigator.languages.find((tag) => tag.toLowerCase().startsWith(language)) ?? language;
}

/** A choice that outlives the page; one that cannot be kept lasts as long as the page does. */
function useKept<T extends string>(name: string, choices: readonly T[], initial: () => T): [T, (value: T) => void] {
  const key = `chatserver:${name}`;
  const [value, setValue] = useState<T>(() => choices.find((choice) => choice === read(key)) ?? initial());
  const keep = useMemo(() => (next: T) => {
    setValue(next);
    try {
      localStorage.setItem(key, next);
    } catch { /* a private window */ }
  }, [key]);
  return [value, keep];
}

function read(key: string): string | null {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}
