// Builds the page into dist/, each file beside a compressed copy that the server prefers.
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

import { defineConfig, type Plugin } from "vite";
import type {} from "vitest/config";

const server = process.env.CHAT_SERVER ?? "http://127.0.0.1:8080";

export default defineConfig({
  plugins: [serviceWorker(), licences(), compress()],
  build: {
    // Nothing inline: the server's Content-Security-Policy forbids it.
    assetsInlineLimit: 0,
    modulePreload: false,
    reportCompressedSize: false,
  },
  // `npm run dev` serves the sources; a server of `make run` answers the rest.
  server: { proxy: { "/api": server, "/socket.io": { target: server, ws: true } } },
  // Only a hang takes as long as these timeouts, however busy the machine.
  test: {
    include: ["test/**/*.test.{ts,tsx}"], environment: "happy-dom", restoreMocks: true,
    testTimeout: 120_000, hookTimeout: 120_000,
  },
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

/** Emits licences.txt: those of the packages whose code is in this build, which ask for that. */
function licences(): Plugin {
  const inside = "/node_modules/"; // Rollup's ids have slashes everywhere.
  const folderOf = (module: string): string => {
    const end = module.lastIndexOf(inside) + inside.length;
    const parts = module.slice(end).split("/");
    return module.slice(0, end) + parts.slice(0, parts[0]?.startsWith("@") ? 2 : 1).join("/");
  };
  return {
    name: "licences",
    apply: "build",
    generateBundle: {
      order: "post",
      handler() {
        const modules = [...this.getModuleIds()].filter((id) => !id.startsWith("\0") && id.includes(inside));
        const texts = [...new Set(modules.map(folderOf))].sort().map((folder) => {
          const file = readdirSync(folder).find((name) => /^licen[cs]e/i.test(name));
          if (file === undefined) this.error(`${folder} has no licence`);
          const { name, version } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as Record<string, string>;
          return `${name} ${version}\n\n${readFileSync(join(folder, file), "utf8").trim()}\n`;
        });
        this.emitFile({ type: "asset", fileName: "licences.txt", source: texts.join(`\n${"-".repeat(72)}\n\n`) });
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
