// Unit tests run in Node; a file that needs a DOM says so in its first lines. Only a hang takes
// as long as these timeouts, however busy the machine.
import { defineConfig } from "vitest/config";

export default defineConfig({
  test: { include: ["test/**/*.test.{ts,tsx}"], restoreMocks: true, testTimeout: 120_000, hookTimeout: 120_000 },
});
