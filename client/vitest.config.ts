// Unit tests run in Node; a file that needs a DOM says so in its first lines.
import { defineConfig } from "vitest/config";

export default defineConfig({
  test: { include: ["test/**/*.test.{ts,tsx}"], restoreMocks: true, testTimeout: 10_000 },
});
