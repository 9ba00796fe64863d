/**
 * Two projects: `unit` runs anywhere and starts no server; `servers` shares one PostgreSQL and one
 * MySQL or MariaDB per worker (test/support/shared-servers.ts).
 */
import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'

function source(path: string): string {
  return fileURLToPath(new URL(path, import.meta.url))
}

function folders(...names: readonly string[]): string[] {
  return names.map((name) => `test/${name}/**/*.test.ts`)
}

export default defineConfig({
  resolve: {
    // The package's own names, as its users write them, lead to the sources (as in tsconfig.json).
    alias: [
      { find: /^unanimous$/, replacement: source('src/index.ts') },
      { find: /^unanimous\/adapter$/, replacement: source('src/adapter.ts') },
      { find: /^unanimous\/pg$/, replacement: source('adapters/pg/index.ts') },
      { find: /^unanimous\/mysql2$/, replacement: source('adapters/mysql2/index.ts') },
      { find: /^unanimous\/knex$/, replacement: source('adapters/knex/index.ts') },
      { find: /^unanimous\/kysely$/, replacement: source('adapters/kysely/index.ts') },
      { find: /^unanimous\/drizzle$/, replacement: source('adapters/drizzle/index.ts') },
      { find: /^unanimous\/typeorm$/, replacement: source('adapters/typeorm/index.ts') },
      { find: /^unanimous\/contract$/, replacement: source('adapters/contract/index.ts') },
    ],
  },
  test: {
    // Much of a test is waiting for deadlines and servers, also on a machine with two processors.
    maxWorkers: 2,
    reporters: ['default', source('test/support/reporter.ts')],
    // What comes is waited for as long as a busy machine may take; Vitest gives up after a second.
    expect: { poll: { timeout: 20_000 } },
    projects: [
      {
        extends: true,
        test: {
          name: 'unit',
          include: folders('unit', 'simulation', 'golden', 'types'),
          // Of a machine that does much else meanwhile.
          testTimeout: 30_000,
        },
      },
      {
        extends: true,
        test: {
          name: 'servers',
          include: folders('contract', 'integration', 'crash', 'docs'),
          globalSetup: source('test/support/shared-servers.ts'),
          // Killing and recovering real servers takes seconds, beside another file and on a busy machine
          // minutes; a first start may initialise data.
          testTimeout: 120_000,
          hookTimeout: 120_000,
        },
      },
    ],
  },
})
