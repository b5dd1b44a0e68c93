/** Dates and prices, as people in Spain and elsewhere write them. */

import { expect, test } from "vitest";

import { createFormats } from "../src/i18n/formats";

const now = new Date(2026, 2, 12, 9, 30);
const es = createFormats("es-ES", () => now);
const en = createFormats("en-GB", () => now);
const on = (day: number, hour = 14, month = 2, year = 2026): string => new Date(year, month, day, hour, 5).toISOString();
const plain = (text: string): string => text.replaceAll(/\s/g, " ");

test("a list says the time of today, then yesterday, a weekday, a date", () => {
  expect([on(12, 8), on(11, 23), on(9), on(2), on(2, 1, 11, 2024)].map(es.short)).toEqual(
    ["8:05", "ayer", "lun", "2 mar", "2/12/24"],
  );
});

test("a clock that is a little ahead makes no message of tomorrow", () => {
  expect(es.short(on(13, 0))).toBe("0:05");
});

test("days are named", () => {
  expect([on(12), on(11), on(9), on(2, 1, 11, 2024)].map(es.day)).toEqual(
    ["Hoy", "Ayer", "Lunes, 9 de marzo", "2 de diciembre de 2024"],
  );
  expect(en.day(on(11))).toBe("Yesterday");
  expect(es.moment(on(11, 23))).toBe("ayer 23:05");
});

test("prices have no decimals that say nothing, and survive an unknown currency", () => {
  expect(plain(es.price(1250, "EUR"))).toBe("1.250 €");
  expect(plain(es.price(575.5, "EUR"))).toBe("575,50 €");
  expect(plain(en.price(1250, "EUR"))).toBe("€1,250");
  expect(plain(es.price(1250, null))).toBe("1.250");
  expect(plain(es.price(10, "not a currency"))).toBe("10 not a currency");
});
