/** What leaves the process about transactions over real databases: spans, numbers, and no secret. */
import { spawn } from 'node:child_process'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { inspect } from 'node:util'
import { pino } from 'pino'
import { describe, expect, it } from 'vitest'
import { ACCOUNTS_URL, DECISIONS, WALLETS_URL } from '../../examples/transfer/environment.ts'
import { openBank } from '../../examples/transfer/transfer.ts'
import { logDirectory, testBank } from '../support/bank.ts'

const bank = await testBank({ markers: true })
const MAIN = fileURLToPath(new URL('../../examples/tracing/main.ts', import.meta.url))

describe('the example of OpenTelemetry', () => {
  it('prints each transaction with its votes, its decision and its settlements under it', async () => {
    const child = spawn(process.execPath, ['--import', 'tsx', MAIN], {
      env: {
        ...process.env,
        [ACCOUNTS_URL]: bank.postgres.url,
        [WALLETS_URL]: bank.mysql.url,
        [DECISIONS]: await logDirectory(),
      },
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const [output, [code]] = await Promise.all([text(child.stdout), once(child, 'exit')])
    expect(code).toBe(0)
    const spans = output
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>)
    const [committed, refused] = spans.filter(({ span }) => span === 'transfer')
    const under = (transaction: Record<string, unknown> | undefined): unknown[] =>
      spans
        .filter((each) => each['unanimous.gtrid'] === transaction?.['unanimous.gtrid'])
        .map(({ span, under: parent }) => [span, parent])
    expect(committed).toMatchObject({ under: null, 'unanimous.outcome': 'committed' })
    expect(under(committed)).toEqual(
      expect.arrayContaining([
        ['prepare accounts', 'transfer'],
        ['prepare wallets', 'transfer'],
        ['decide', 'transfer'],
        ['settle accounts', 'transfer'],
        ['settle wallets', 'transfer'],
      ]),
    )
    expect(refused).toMatchObject({
      'unanimous.outcome': 'rolled-back',
      'unanimous.code': 'CALLBACK_FAILED',
    })
    expect(under(refused)).toContainEqual(['settle accounts', 'transfer'])
    expect(under(refused)).not.toContainEqual(['decide', 'transfer'])
  }, 60_000)
})

describe('a secret parameter', () => {
  const SECRET = 'secret-4111-1111'

  it('is in no log line, no span and no number, however its transaction ends', async () => {
    const lines: string[] = []
    const spans: unknown[] = []
    const note = (message: unknown): void => {
      // The error is the caller's, as it heard it; everything else is ours.
      spans.push({ ...(message as object), error: undefined })
    }
    const phases = ['transaction', 'prepare', 'decide', 'settle', 'recover']
    const events = ['start', 'end', 'asyncStart', 'asyncEnd', 'error']
    const channels = phases.flatMap((phase) =>
      events.map((event) => `tracing:unanimous:${phase}:${event}`),
    )
    for (const channel of channels) subscribe(channel, note)
    const warn = (warning: Error): void => void lines.push(String(warning))
    process.on('warning', warn)
    const logger = pino({ level: 'trace' }, { write: (line) => void lines.push(line) })
    const coordinator = await openBank(bank.pools.accounts, bank.pools.wallets, {
      log: await logDirectory(),
      logger,
      settleMs: 200,
    })
    const write =
      (
        id: string,
      ): ((tx: Parameters<Parameters<typeof coordinator.transaction>[0]>[0]) => Promise<void>) =>
      async (tx) => {
        await tx.accounts.query('insert into transfer (id, account, amount) values ($1, 1, 1)', [
          id,
        ])
        await tx.wallets.query('insert into transfer (id, wallet, amount) values (?, 1, 1)', [id])
      }
    const rejected = async (work: Promise<unknown>): Promise<void> => {
      await expect(work).rejects.toThrow()
    }
    await coordinator.transaction(write(SECRET))
    // Both servers name the value that was there before in their errors.
    await rejected(coordinator.transaction(write(SECRET)))
    await rejected(
      coordinator.transaction((tx) => tx.accounts.query('select $1::text::int', [SECRET])),
    )
    await rejected(
      coordinator.transaction((tx) => tx.wallets.query('insert into nowhere values (?)', [SECRET])),
    )
    await rejected(coordinator.transaction(() => Promise.reject(new Error(SECRET))))
    await coordinator.transaction((tx) => {
      tx.afterCommit(() => {
        throw new Error(SECRET)
      })
      return SECRET
    })
    // Ends the backend in the middle, with the value in its statement.
    await rejected(
      coordinator.transaction(async (tx) => {
        await write(`${SECRET}-2`)(tx)
        await tx.accounts.query('select pg_terminate_backend(pg_backend_pid()), $1::text', [SECRET])
      }),
    )
    await rejected(
      coordinator.transaction((tx) => tx.accounts.query('select pg_sleep(5), $1::text', [SECRET]), {
        timeoutMs: 100,
      }),
    )
    const stats = coordinator.stats()
    await coordinator.close()
    for (const channel of channels) unsubscribe(channel, note)
    process.off('warning', warn)
    expect(stats.transactions.ended.committed).toBe(2)
    expect(lines.length).toBeGreaterThan(8)
    expect(spans.length).toBeGreaterThan(30)
    expect(lines.join('')).toContain('transaction:hook-failed')
    expect(lines.join('')).toContain('UnanimousWarning')
    for (const told of [
      lines.join(''),
      inspect(spans, { depth: 8 }),
      inspect(stats, { depth: 8 }),
    ]) {
      expect(told).not.toContain(SECRET)
    }
  }, 60_000)
})
