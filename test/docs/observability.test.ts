/** docs/observability.md: the logger, an event, a span and the metrics, run; the table of events, whole. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { ROOT } from '../../scripts/source-tree.ts'
import { testDatabases } from '../support/databases.ts'
import { openPage } from '../support/docs.ts'

const { postgres, mysql } = await testDatabases()
const page = await openPage('docs/observability.md', {
  LEDGER_URL: postgres.url,
  SHOP_URL: mysql.url,
})

const BEFORE = `
import { tracingChannel } from 'node:diagnostics_channel'
import { createPool } from 'mysql2/promise'
import { Pool } from 'pg'
import { pino } from 'pino'
import { Coordinator, type Span } from 'unanimous'
import { mysql } from 'unanimous/mysql2'
import { postgres } from 'unanimous/pg'

const ledgerPool = new Pool({ connectionString: process.env.LEDGER_URL })
const shopPool = createPool(process.env.SHOP_URL ?? '')
`
const AFTER = `
await ledgerPool.query('create table if not exists note (id int)')
await shopPool.query('create table if not exists note (id int) engine=innodb')
for (let id = 0; id < 3; id += 1) {
  await coordinator.transaction(async (tx) => {
    await tx.ledger.query('insert into note values ($1)', [id])
    await tx.shop.query('insert into note values (?)', [id])
  })
}
console.log(metrics())
await Promise.all([coordinator.close(), careful.close()])
await Promise.all([ledgerPool.end(), shopPool.end()])
`

it('runs, says nothing at info, and its metrics are those of what was done', async () => {
  const output = await page.run({ before: BEFORE, after: AFTER })
  const lines = output.trim().split('\n')
  const metrics = new Map(
    lines
      .filter((line) => !line.startsWith('{'))
      .map((line) => line.split(' ') as [string, string]),
  )
  expect(metrics.get('unanimous_up')).toBe('1')
  expect(metrics.get('unanimous_transactions_total{outcome="committed"}')).toBe('3')
  expect(metrics.get('unanimous_unsettled{participant="shop"}')).toBe('0')
  expect(metrics.get('unanimous_phase_seconds_count{phase="decide"}')).toBe('3')
  expect(metrics.get('unanimous_phase_seconds_bucket{phase="prepare",le="+Inf"}')).toBe('6')
  expect(Number(metrics.get('unanimous_log_forces_total'))).toBeGreaterThanOrEqual(3)
  for (const [name, value] of metrics) {
    expect(name).toMatch(/^unanimous_[a-z_]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})?$/)
    expect(Number.isFinite(Number(value))).toBe(true)
  }
})

it('has every event, and every metric that an alert is about', async () => {
  const text = await readFile(join(ROOT, 'docs/observability.md'), 'utf8')
  const events = await readFile(join(ROOT, 'src/events.ts'), 'utf8')
  const typed = [...events.matchAll(/^ {2}'([a-z]+:[a-z-]+)': \{/gm)].map(([, name]) => name)
  const told = [...text.matchAll(/^\| `([a-z]+:[a-z-]+)` \| (?:debug|info|warn|error)/gm)]
  expect(typed.length).toBeGreaterThan(8)
  expect(new Set(told.map(([, name]) => name))).toEqual(new Set(typed))
  const alerts = text.slice(text.indexOf('## Alerts worth having'))
  for (const [name] of alerts.matchAll(/unanimous_[a-z_]+/g)) {
    expect(text.slice(0, text.indexOf('## Alerts worth having'))).toContain(name)
  }
})
