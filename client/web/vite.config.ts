// Builds the page into dist/, each file beside a compressed copy that the server prefers.
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

import { defineConfig, type Plugin } from "vite";
import type {} from "vitest/config";

const server = process.env.CHAT_SERVER ?? "http://127.0.0.1:8080";

export default defineConfig({
  plugins: [serviceWorker(), compress()],
  build: {
    // Nothing inline: the server's Content-Security-Policy forbids it.
    assetsInlineLimit: 0,
    modulePreload: false,
    reportCompressedSize: false,
  },
  // `npm run dev` serves the sources; a server of `make run` answers the rest.
  server: { proxy: { "/api": server, "/socket.io": { target: server, ws: true } } },
  test: { include: ["test/**/*.test.{ts,tsx}"], environment: "happy-dom", restoreMocks: true },
});

/** Emits service_worker.js as sw.js, with the names of all files of this build. */
function serviceWorker(): Plugin {
  return {
    name: "service-worker",
    apply: "build",
    generateBundle: {
      order: "post",
      handler(_, bundle) {
        const files = JSON.stringify(["/", ...Object.keys(bundle).filter((name) => name !== "index.html").map((name) => `/${name}`)]);
        const version = createHash("sha256").update(files).digest("hex").slice(0, 8);
        const source = readFileSync("service_worker.js", "utf8");
        this.emitFile({
          type: "asset", fileName: "sw.js",
          source: source.replace("__FILES__", files).replace("__VERSION__", JSON.stringify(version)),
        });
      },
    },
  };
}

function compress(): Plugin {
  return {
    name: "compress",
    apply: "build",
    writeBundle({ dir = "dist" }) {
      for (const file of readdirSync(dir, { recursive: true, encoding: "utf8" })) {
        if (!/\.(js|css|html|svg)$/.test(file)) continue;
        const content = readFileSync(join(dir, file));
        writeFileSync(join(dir, `${file}.gz`), gzipSync(content, { level: 9 }));
        const params = { [constants.BROTLI_PARAM_SIZE_HINT]: content.length };
        writeFileSync(join(dir, `${file}.br`), brotliCompressSync(content, { params }));
      }
    },
  };
}
