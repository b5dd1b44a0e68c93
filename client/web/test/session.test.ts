/** The link: who the page belongs to, and what is left of it afterwards. */

import { beforeEach, expect, test } from "vitest";

import { readSession } from "../src/session";

beforeEach(() => {
  sessionStorage.clear();
  history.replaceState(null, "", "/");
});

test("the token leaves the address bar and stays in this window", () => {
  location.hash = "#token=a.b.c&conversation=42";
  expect(readSession()?.token).toBe("a.b.c");
  expect(location.hash).toBe("#conversation=42");
  expect(readSession()?.token).toBe("a.b.c");
  expect(localStorage.length).toBe(0);
});

test("a new link is a new person", () => {
  location.hash = "#token=first";
  readSession();
  location.hash = "#token=second";
  expect(readSession()?.token).toBe("second");
  expect(location.hash).toBe("");
});

test("a link may open a listing once, and offer others", () => {
  location.hash = `#token=t&listing=7&offer=8~${encodeURIComponent("Ático ~ con vistas & más")}&offer=9~Estudio`;
  expect(readSession()).toEqual({
    token: "t", listingId: "7",
    offers: [{ id: "8", title: "Ático ~ con vistas & más" }, { id: "9", title: "Estudio" }],
  });
  expect(readSession()?.listingId).toBeNull();
});

test("without a link there is nobody, whatever lies in the storage", () => {
  expect(readSession()).toBeNull();
  sessionStorage.setItem("chatserver:session", "{");
  expect(readSession()).toBeNull();
});
