/**
 * Text that others wrote, without the means to deceive: characters that turn the
 * direction of writing, and web addresses whose host only looks like another one.
 */

/** Embeddings, overrides, isolates and marks of direction. */
const BIDI_CONTROLS = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;
/** These two turn letters that have a direction of their own: nobody writes so. */
const OVERRIDES = /[\u202d\u202e]/g;
const RIGHT_TO_LEFT = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff\u{10800}-\u{10fff}\u{1e800}-\u{1eeff}]/u;
// A closing bracket, a full stop and the like after an address belong to the sentence.
const ADDRESS = /(https?:\/\/[^\s<>"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]*[^\s<>".,;:!?)\]}'»”\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069])/i;

/** A part of a text: as it is shown and, where it is an address, where it leads. */
export interface TextPart {
  text: string;
  href?: string;
}

/** A text cut into addresses and what is between them; without overrides. */
export function splitText(text: string): TextPart[] {
  return text.split(ADDRESS)
    .map((part, index) => (index % 2 === 1 ? address(part) : { text: part.replace(OVERRIDES, "") }))
    .filter((part) => part.text !== "");
}

/** A text in one piece, for where no links are. */
export function shownText(text: string): string {
  return splitText(text).map((part) => part.text).join("");
}

/** A name or title: one line, without marks of direction, its addresses as in a text. */
export function plainName(text: string): string {
  return shownText(text.replace(BIDI_CONTROLS, "").replace(/\s+/g, " ").trim());
}

/** A name to be put into a sentence, whose order it cannot turn. */
export function isolated(name: string): string {
  return RIGHT_TO_LEFT.test(name) ? `\u2068${name}\u2069` : name;
}

/** One that names a person before its host leads nobody where they think, and is no link. */
function address(part: string): TextPart {
  let url: URL;
  try {
    url = new URL(part);
  } catch {
    return { text: part };
  }
  if (url.username !== "" || url.password !== "") return { text: part };
  const [, scheme = "", host = "", rest = ""] = /^(https?:\/\/)([^/?#]*)(.*)$/is.exec(part) ?? [];
  return { text: scheme + shownHost(host, url.host) + rest, href: part };
}

/** The host as it was written, or in ASCII (punycode) where its letters are not of one script. */
function shownHost(written: string, ascii: string): string {
  return written.toLowerCase() === ascii || isOneScript(written) ? written : ascii;
}

/** Together in one language, so that their mixture deceives nobody (UTS 39, "highly restrictive"). */
const ALLOWED = [
  // Of Latin what European languages write, but the letters that look like ASCII ones.
  /^[a-z0-9\u00df-\u00f6\u00f8-\u0130\u0132-\u0137\u0139-\u017e]*$/u,
  /^[\p{Script=Cyrillic}0-9]*$/u,
  /^[\p{Script=Greek}0-9]*$/u,
  /^[\p{Script=Arabic}0-9]*$/u,
  /^[\p{Script=Hebrew}0-9]*$/u,
  /^[\p{Script=Devanagari}0-9]*$/u,
  /^[\p{Script=Thai}0-9]*$/u,
  /^[a-z0-9\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}ー]*$/u,
  /^[a-z0-9\p{Script=Han}\p{Script=Hangul}]*$/u,
];

/** Of the whole host, its top-level domain too: "аррӏе.com" is Cyrillic in front of a Latin end. */
function isOneScript(host: string): boolean {
  const letters = host.normalize("NFC").toLowerCase().replace(/:\d+$/, "").replaceAll(/[.-]/g, "");
  return ALLOWED.some((script) => script.test(letters));
}
