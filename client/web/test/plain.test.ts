/** Text that would deceive: directions, look-alike hosts, names in front of hosts. */

import { expect, test } from "vitest";

import { isolated, plainName, shownText, splitText } from "../src/ui/plain";
import { LANDLORD, people, TENANT } from "./kit";

const links = (text: string): (string | undefined)[] => splitText(text).filter(({ href }) => href !== undefined).map((part) => part.text);

test.each([
  ["https://www.easyrent.es/piso?x=1", "https://www.easyrent.es/piso?x=1"],
  ["https://españa.es/añil", "https://españa.es/añil"],
  ["https://испытание.рф/", "https://испытание.рф/"],
  ["https://日本語テスト.jp/", "https://日本語テスト.jp/"],
  // Cyrillic а, р, у in Latin company, and in front of a Latin end
  ["https://pаypal.com/login", "https://xn--pypal-4ve.com/login"],
  ["https://аррӏе.com", "https://xn--80ak6aa92e.com"],
  // A dotless i, a script g
  ["https://lıdl.es", "https://xn--ldl-jua.es"],
  ["https://ɡoogle.com/a", "https://xn--oogle-qmc.com/a"],
])("the host of %s is shown as %s", (text, shown) => {
  expect(links(`mira ${text} hoy`)).toEqual([shown]);
});

test("an address ends at a mark of direction, and has none", () => {
  const [part] = links("https://good.example/\u202egpj.exe");
  expect(part).toBe("https://good.example/");
  expect(splitText("https://good.example/\u2066x")[0]?.href).toBe("https://good.example/");
});

test("one with a name in front of its host is no link", () => {
  expect(links("https://easyrent.es@evil.example/pay")).toEqual([]);
  expect(shownText("https://easyrent.es@evil.example/pay")).toBe("https://easyrent.es@evil.example/pay");
});

test("nothing turns letters that have a direction of their own, but texts keep their marks", () => {
  expect(shownText("factura\u202egpj.exe\u202c")).toBe("facturagpj.exe\u202c");
  expect(shownText("\u200fשלום\u200f")).toBe("\u200fשלום\u200f");
});

test("names and titles have neither marks of direction nor lines nor look-alike hosts", () => {
  expect(plainName(" Lucía\u202e\u2066\n Fernández\u200f ")).toBe("Lucía Fernández");
  expect(plainName("Piso en https://pаypal.com")).toBe("Piso en https://xn--pypal-4ve.com");
  expect(people(true, { ...LANDLORD, first_name: "Javier\u202e", last_name: "\u202doneroM" }).title).toBe("Javier oneroM");
});

test("a name in a sentence keeps its order to itself", () => {
  expect(isolated("Javier")).toBe("Javier");
  expect(isolated("דוד")).toBe("\u2068דוד\u2069");
});

test("somebody who takes no part sees both people's names", () => {
  expect(people().title).toBe("Javier Moreno");
  expect(people(false).title).toBe("Lucía Fernández y Javier Moreno");
  expect(people(false, LANDLORD, { ...TENANT, first_name: null, last_name: null }).title).toBe("Usuario y Javier Moreno");
});

test("who types is named, and a third voice that has not written is somebody", () => {
  expect(people().typing(["peer"], [])).toBe("Javier Moreno");
  expect(people().typing(["peer", "admin"], [])).toBe("Javier Moreno y Alguien");
});
