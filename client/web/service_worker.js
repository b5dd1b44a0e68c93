/**
 * Keeps the page for when there is no network, so that a reload then shows it with all that
 * this device knows. With a network the newest page is asked for each time. It touches
 * nothing else: no API, no socket. vite.config.ts puts in the names of the built files.
 */

const FILES = __FILES__;
const CACHE = `chat-page-${__VERSION__}`;
const PATIENCE = 4_000;

self.addEventListener("install", (event) => {
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(FILES)).then(() => self.skipWaiting()));
});

self.addEventListener("activate", (event) => {
  event.waitUntil(removeOld().then(() => self.clients.claim()));
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const { origin, pathname } = new URL(request.url);
  if (request.method !== "GET" || origin !== self.location.origin || !FILES.includes(pathname)) return;
  event.respondWith(pathname === "/" ? newest() : kept(request));
});

/** The page of the server; the kept one when that does not answer in time. */
async function newest() {
  try {
    const response = await fetch("/", { cache: "no-cache", signal: AbortSignal.timeout(PATIENCE) });
    if (response.ok) return response;
  } catch { /* no network, or no server */ }
  return (await caches.match("/")) ?? Response.error();
}

/** A file whose name changes with its content. */
async function kept(request) {
  return (await caches.match(request)) ?? fetch(request);
}

async function removeOld() {
  const names = await caches.keys();
  await Promise.all(names.filter((name) => name.startsWith("chat-page-") && name !== CACHE).map((name) => caches.delete(name)));
}
