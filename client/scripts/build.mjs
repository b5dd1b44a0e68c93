// Builds the package into dist/: ES modules, and CommonJS in dist/cjs. `npm pack` runs it too,
// so that it works in a fresh clone: what is missing is installed first.
import { execFileSync } from "node:child_process";
import { existsSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath, URL } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const tsc = join(root, "node_modules", "typescript", "bin", "tsc");

// npm's output on standard output is the result of `npm pack --json`: ours goes to standard error.
const run = (command, args, options) => execFileSync(command, args, { cwd: root, stdio: ["ignore", 2, 2], ...options });

if (!existsSync(tsc)) {
  process.stderr.write("chatserver-client: npm ci, once, for the compiler\n");
  run("npm", ["ci", "--ignore-scripts"], { shell: process.platform === "win32" });
}
rmSync(join(root, "dist"), { recursive: true, force: true });
for (const project of ["tsconfig.build.json", "tsconfig.cjs.json"]) run(process.execPath, [tsc, "-p", project]);
// Above these files package.json says that they are ES modules.
writeFileSync(join(root, "dist", "cjs", "package.json"), '{ "type": "commonjs", "sideEffects": false }\n');
