/**
 * Each ban meets one bad file and is seen to catch it: a ban that is not in force looks exactly
 * like a tidy tree. Then the real tree.
 */
import { describe, expect, it } from 'vitest'
import { type LayerRule, layerFindings } from '../../scripts/layers.ts'
import { readRepository } from '../../scripts/source-tree.ts'

type BadFile = readonly [rule: LayerRule, what: string, path: string, text: string]

const BAD: readonly BadFile[] = [
  ['unknown-unit', 'a folder without a layer', 'src/utils/text.ts', 'export {}'],
  ['unknown-unit', 'a file without a layer', 'src/helpers.ts', 'export {}'],
  ['unknown-unit', 'an adapter without a layer', 'adapters/oracle/index.ts', 'export {}'],

  ['layer', 'foundation above itself', 'src/xid.ts', "import { a } from './log/replay.ts'"],
  [
    'layer',
    'a value of the vocabulary',
    'src/errors.ts',
    "import { a } from './protocol/vocabulary.ts'",
  ],
  [
    'layer',
    'protocol needs no clock',
    'src/protocol/a.ts',
    "import type { Clock } from '../clock.ts'",
  ],
  [
    'layer',
    'protocol knows no branch',
    'src/protocol/a.ts',
    "import type { B } from '../participant/branch.ts'",
  ],
  [
    'layer',
    'participant knows no log',
    'src/participant/a.ts',
    "import type { L } from '../log/decision-log.ts'",
  ],
  [
    'layer',
    'log knows no participant',
    'src/log/a.ts',
    "import type { B } from '../participant/branch.ts'",
  ],
  [
    'layer',
    'commit uses the port of the log',
    'src/commit/a.ts',
    "import { a } from '../log/replay.ts'",
  ],
  [
    'layer',
    'commit not recovery',
    'src/commit/a.ts',
    "import type { R } from '../recovery/recover.ts'",
  ],
  [
    'layer',
    'recovery not commit',
    'src/recovery/a.ts',
    "import type { T } from '../commit/transaction.ts'",
  ],
  [
    'layer',
    'recovery uses the port of the log',
    'src/recovery/a.ts',
    "import { a } from '../log/record.ts'",
  ],
  [
    'layer',
    'nobody below the coordinator',
    'src/commit/a.ts',
    "import type { C } from '../coordinator.ts'",
  ],
  ['layer', 'coordinator not index', 'src/coordinator.ts', "import { a } from './index.ts'"],
  ['layer', 'nobody imports cli', 'src/coordinator.ts', "import { a } from './cli/main.ts'"],
  ['layer', 'cli not commit', 'src/cli/main.ts', "import { a } from '../commit/transaction.ts'"],
  [
    'layer',
    'src not adapters',
    'src/coordinator.ts',
    "import { a } from '../adapters/pg/index.ts'",
  ],
  [
    'layer',
    'cli not adapters',
    'src/cli/main.ts',
    "import { a } from '../../adapters/pg/index.ts'",
  ],
  [
    'layer',
    'adapter API not log',
    'src/adapter.ts',
    "export type { L } from './log/decision-log.ts'",
  ],
  [
    'layer',
    'dialect not a driver',
    'adapters/dialect/a.ts',
    "import { a } from '../pg/participant.ts'",
  ],
  [
    'layer',
    'adapters by the API only',
    'adapters/pg/a.ts',
    "import type { X } from '../../src/xid.ts'",
  ],
  [
    'layer',
    'adapters not one another',
    'adapters/pg/a.ts',
    "import { a } from '../mysql2/index.ts'",
  ],
  ['layer', 'examples by public names', 'examples/a.ts', "import { a } from '../src/index.ts'"],
  ['layer', 'a type import in place', 'src/log/a.ts', "export let a: import('../commit/a.ts').A"],
  ['layer', 'a dynamic import', 'src/log/a.ts', "export const a = () => import('../commit/a.ts')"],
  ['layer', 'a re-export', 'src/log/a.ts', "export { a } from '../commit/a.ts'"],
  ['layer', 'an import for its effect', 'src/log/a.ts', "import '../commit/a.ts'"],

  ['package', 'a driver in the core', 'src/participant/a.ts', "import type { Pool } from 'pg'"],
  ['package', 'a tool of the cli', 'src/commit/a.ts', "import { z } from 'zod'"],
  ['package', 'pino past the logger', 'src/coordinator.ts', "import { pino } from 'pino'"],
  [
    'layer',
    'the logger below the coordinator',
    'src/commit/a.ts',
    "import { a } from '../logger.ts'",
  ],
  ['package', 'ourselves by name', 'src/commit/a.ts', "import { a } from 'unanimous'"],
  ['package', 'a driver in a dialect', 'adapters/dialect/a.ts', "import type { Pool } from 'pg'"],
  ['package', "another adapter's driver", 'adapters/pg/a.ts', "import type { Pool } from 'mysql2'"],

  ['file-system', 'in the core', 'src/commit/a.ts', "import { open } from 'node:fs/promises'"],
  ['file-system', 'without its prefix', 'src/recovery/a.ts', "import { readFileSync } from 'fs'"],
  ['file-system', 'in an adapter', 'adapters/pg/a.ts', "import { open } from 'node:fs/promises'"],

  ['network', 'a socket in the core', 'src/commit/a.ts', "import { connect } from 'node:net'"],
  ['network', 'a socket in the cli', 'src/cli/a.ts', "import { connect } from 'net'"],
  ['layer', 'live not coordinator', 'src/live/a.ts', "import { a } from '../coordinator/drain.ts'"],
  ['layer', 'recovery not live', 'src/recovery/a.ts', "import { a } from '../live/client.ts'"],

  ['pure-protocol', 'a module of Node', 'src/protocol/a.ts', "import { inspect } from 'node:util'"],
  ['pure-protocol', 'an async function', 'src/protocol/a.ts', 'export async function a() {}'],
  ['pure-protocol', 'an async method', 'src/protocol/a.ts', 'export const a = { async b() {} }'],
  ['pure-protocol', 'await', 'src/protocol/a.ts', 'export const a = await 1'],
  ['pure-protocol', 'a promise', 'src/protocol/a.ts', 'export const a = (b: Promise<1>) => b'],

  ['ports', 'the current time', 'src/commit/a.ts', 'export const a = Date.now()'],
  ['ports', 'the current date', 'src/commit/a.ts', 'export const a = new Date()'],
  ['ports', 'the current date as text', 'src/commit/a.ts', 'export const a = Date()'],
  ['ports', 'performance', 'src/log/a.ts', 'export const a = performance.now()'],
  ['ports', 'hrtime', 'src/log/a.ts', 'export const a = process.hrtime.bigint()'],
  ['ports', 'setTimeout', 'src/recovery/a.ts', 'setTimeout(() => {}, 1)'],
  ['ports', 'setTimeout by a member', 'src/recovery/a.ts', 'globalThis.setTimeout(() => {}, 1)'],
  ['ports', 'setTimeout as a value', 'src/recovery/a.ts', 'export const a = { setTimeout }'],
  ['ports', 'setInterval', 'src/recovery/a.ts', 'setInterval(() => {}, 1)'],
  ['ports', 'setImmediate outside the log', 'src/commit/a.ts', 'setImmediate(() => {})'],
  ['ports', 'a timer in a signal', 'src/commit/a.ts', 'export const a = AbortSignal.timeout(1)'],
  ['ports', 'chance', 'src/participant/a.ts', 'export const a = Math.random()'],
  [
    'ports',
    'chance by a name in brackets',
    'src/participant/a.ts',
    "export const a = Math['random']()",
  ],
  ['ports', 'crypto', 'src/coordinator.ts', 'export const a = crypto.randomUUID()'],
  ['ports', 'node:crypto', 'src/xid.ts', "import { randomBytes } from 'node:crypto'"],
  [
    'ports',
    'timers',
    'src/commit/a.ts',
    "import { setTimeout as sleep } from 'node:timers/promises'",
  ],

  ['enum', 'in src', 'src/commit/a.ts', 'export enum A { b }'],
  ['enum', 'const, in an adapter', 'adapters/pg/a.ts', 'const enum A { b }'],
  ['default-export', 'in src', 'src/commit/a.ts', 'export default 1'],
  ['default-export', 'by a name', 'adapters/pg/a.ts', 'const a = 1; export { a as default }'],
  ['export-star', 'in the public API', 'src/index.ts', "export * from './errors.ts'"],
  ['re-exports-only', 'a function', 'src/index.ts', 'export function a() {}'],
  ['re-exports-only', 'a statement', 'src/adapter.ts', 'console.log(1)'],
]

describe('a ban catches its bad file', () => {
  it.each(BAD)('%s: %s', (rule, _what, path, text) => {
    const rules = layerFindings([{ path, text }]).map((finding) => finding.rule)
    expect(rules).toContain(rule)
  })

  it('every rule has a bad file', () => {
    const rules: Record<LayerRule, true> = {
      'unknown-unit': true,
      layer: true,
      cycle: true,
      package: true,
      'file-system': true,
      network: true,
      'pure-protocol': true,
      ports: true,
      enum: true,
      'default-export': true,
      'export-star': true,
      're-exports-only': true,
    }
    const shown = new Set<string>([...BAD.map(([rule]) => rule), 'cycle'])
    expect([...shown].sort()).toEqual(Object.keys(rules).sort())
  })

  it('cycle: two files, one way by type', () => {
    const findings = layerFindings([
      { path: 'src/log/a.ts', text: "import { b } from './b.ts'; export const a = b" },
      { path: 'src/log/b.ts', text: "import type { A } from './c.ts'; export let b: A" },
      { path: 'src/log/c.ts', text: "import { a } from './a.ts'; export type A = typeof a" },
    ])
    expect(findings).toEqual([
      {
        rule: 'cycle',
        path: 'src/log/a.ts',
        line: 1,
        message: 'src/log/a.ts -> src/log/b.ts -> src/log/c.ts -> src/log/a.ts',
      },
    ])
  })

  it('names the file and the line', () => {
    const text = "\n\nimport { a } from '../commit/a.ts'"
    expect(layerFindings([{ path: 'src/recovery/a.ts', text }])).toEqual([
      {
        rule: 'layer',
        path: 'src/recovery/a.ts',
        line: 3,
        message: 'may not import src/commit/a.ts',
      },
    ])
  })
})

describe('what the design allows passes', () => {
  it.each([
    ['src/errors.ts', "import type { Outcome } from './protocol/vocabulary.ts'"],
    ['src/clock.ts', "import { randomBytes } from 'node:crypto'; export const a = Date.now()"],
    ['src/log/a.ts', "import { open } from 'node:fs/promises'; setImmediate(() => {})"],
    ['src/log/a.ts', "import { createHash, hash } from 'node:crypto'"],
    ['src/log/a.ts', 'export const a = (at: number) => new Date(at).toISOString()'],
    ['src/commit/a.ts', "import type { DecisionLog } from '../log/decision-log.ts'"],
    ['src/commit/a.ts', 'export const a = (port: { setTimeout(): void }) => port.setTimeout()'],
    ['src/commit/a.ts', "import { AsyncLocalStorage } from 'node:async_hooks'"],
    ['src/coordinator.ts', "import { a } from './recovery/loop.ts'"],
    ['src/cli/a.ts', "import { z } from 'zod'; export const a = Date.now()"],
    ['adapters/pg/a.ts', "import { a } from '../../src/adapter.ts'; import type { P } from 'pg'"],
    ['adapters/pg/a.ts', "import { a } from '../dialect/postgres.ts'; import { b } from './b.ts'"],
    ['examples/a.ts', "import { Coordinator } from 'unanimous'; export enum A { b }"],
  ])('%s: %s', (path, text) => {
    expect(layerFindings([{ path, text }])).toEqual([])
  })
})

it('the tree keeps every ban', () => {
  const files = readRepository()
  expect(files.filter((file) => file.path.startsWith('src/')).length).toBeGreaterThan(10)
  expect(layerFindings(files)).toEqual([])
})
