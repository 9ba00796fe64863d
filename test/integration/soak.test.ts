/**
 * A sample of bench/soak.ts: refusals, deadlines and aborted signals at random, and what is left of
 * them. What callers heard is what the databases hold; pools, listeners and prepared branches are as
 * they were.
 */
import { expect, it } from 'vitest'
import { soak } from '../../bench/soak.ts'
import { logDirectory } from '../support/bank.ts'
import { testDatabases } from '../support/databases.ts'

const { postgres, mysql } = await testDatabases()

it('2,000 transactions of every kind leave nothing behind', async () => {
  const lines: string[] = []
  const result = await soak({
    postgresUrl: postgres.url,
    mysqlUrl: mysql.url,
    logDirectory: await logDirectory(),
    transactions: 2_000,
    seed: 7,
    step: 500,
    report: (line) => lines.push(line),
  })
  expect(result.wrong, lines.join('\n')).toEqual([])
  // Each kind of end was really among them.
  for (const word of [
    'committed',
    'CALLBACK_FAILED (rolled-back)',
    'SIGNAL_ABORTED (rolled-back)',
    'DEADLINE_EXCEEDED (rolled-back)',
    'STATEMENT_FAILED (rolled-back)',
    'WORK_STILL_RUNNING (rolled-back)',
  ]) {
    expect(result.heard.get(word) ?? 0, word).toBeGreaterThan(10)
  }
  const inDoubt = [...result.heard.keys()].filter((word) => !/^committed|rolled-back/.test(word))
  expect(inDoubt).toEqual([])
}, 240_000)
