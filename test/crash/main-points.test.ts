/**
 * Kills a real process at every failpoint, on real servers, and recovers. The table is the promise:
 * for each point the outcome that recovery must reach, whatever was done by then.
 *
 * After each crash: both databases agree, what callers had heard is true, nothing is prepared, no
 * row is locked, nobody is warned of anything; and a second recovery changes nothing.
 */
import { describe, expect, it } from 'vitest'
import { PLACES, START_BALANCE } from '../../examples/transfer/schema.ts'
import { openBank } from '../../examples/transfer/transfer.ts'
import { FAILPOINTS, type Failpoint } from '../../src/failpoint.ts'
import { logDirectory, type TestBank, testBank } from '../support/bank.ts'
import { crash, type Heard } from '../support/crash.ts'

type Scenario = 'commit' | 'abort' | 'accounts' | 'wallets' | 'open' | 'many' | 'roll'

interface Required {
  readonly scenario: Scenario
  /** What became of the last transaction. `either`: all of it or nothing. */
  readonly outcome: 'committed' | 'rolled-back' | 'either'
  /** For `open`: where the process before was killed, which left something to recover. */
  readonly before?: Failpoint
}

const COMMITTED: Required = { scenario: 'commit', outcome: 'committed' }
const ROLLED_BACK: Required = { scenario: 'commit', outcome: 'rolled-back' }
const ABORTED: Required = { scenario: 'abort', outcome: 'rolled-back' }
const RECOVERING_COMMIT: Required = {
  scenario: 'open',
  outcome: 'committed',
  before: 'decide:after',
}
const RECOVERING_ABORT: Required = {
  scenario: 'open',
  outcome: 'rolled-back',
  before: 'prepare:after-all',
}
const MANY: Required = { scenario: 'many', outcome: 'either' }
/** The log's segment is full in the middle of it. */
const ROLLING: Required = { scenario: 'roll', outcome: 'either' }

/** A failpoint without its row does not compile. */
const REQUIRED: { readonly [F in Failpoint]: readonly Required[] } = {
  'begin:done': [ROLLED_BACK],
  'prepare:before': [ROLLED_BACK],
  'prepare:after-first': [ROLLED_BACK, MANY],
  'prepare:after-all': [ROLLED_BACK, MANY],
  'decide:before': [ROLLED_BACK],
  'log:before-write': [ROLLED_BACK],
  // Written and not forced: a killed process loses nothing of it, a power failure might.
  'log:after-write': [{ scenario: 'commit', outcome: 'either' }],
  'log:after-sync': [COMMITTED],
  'decide:after': [COMMITTED, MANY],
  'commit:before': [COMMITTED],
  'commit:after-first': [COMMITTED, MANY],
  'commit:after-all': [COMMITTED],
  'abort:before': [ABORTED],
  'abort:after-first': [ABORTED],
  'abort:after-all': [ABORTED],
  'one-phase:before': [
    { scenario: 'accounts', outcome: 'rolled-back' },
    { scenario: 'wallets', outcome: 'rolled-back' },
  ],
  'one-phase:after': [
    { scenario: 'accounts', outcome: 'committed' },
    { scenario: 'wallets', outcome: 'committed' },
  ],
  'recover:listed': [RECOVERING_COMMIT, RECOVERING_ABORT],
  'recover:before-settle': [RECOVERING_COMMIT, RECOVERING_ABORT],
  'recover:after-settle': [RECOVERING_COMMIT, RECOVERING_ABORT],
  'recover:before-answered': [RECOVERING_COMMIT],
  'log:before-roll': [ROLLING],
  // Opening writes a segment of its own, too.
  'log:after-create': [ROLLING, RECOVERING_COMMIT],
  'log:after-rename': [ROLLING, RECOVERING_COMMIT],
  'log:after-roll': [ROLLING, RECOVERING_COMMIT],
}

const CASES = FAILPOINTS.flatMap((point) =>
  REQUIRED[point].map((row) => {
    const after = row.before === undefined ? '' : ` after a crash at ${row.before}`
    return { title: `${point} (${row.scenario}${after}): ${row.outcome}`, point, ...row }
  }),
)
/** `many`: the kill comes when the point is met so often. */
const MET_BEFORE_KILL = 25

/** Opens a coordinator, which recovers, and closes it. Answers what an operator was told. */
async function recover(bank: TestBank, log: string): Promise<readonly object[]> {
  const told: object[] = []
  const tell = (details: object): void => {
    // Some file systems cannot prove that a log is no copy; they say so at every open.
    const aboutFiles = 'event' in details && details.event === 'log:event'
    if (!aboutFiles) told.push(details)
  }
  const quiet = (): void => undefined
  const { accounts, wallets } = bank.pools
  const logger = { debug: quiet, info: quiet, warn: tell, error: tell }
  const coordinator = await openBank(accounts, wallets, { log, logger })
  bank.observer.only(coordinator.logId)
  await expect.poll(() => bank.observer.inDoubt(), { timeout: 5_000 }).toEqual([])
  await coordinator.close()
  return told
}

/** Everything that the databases hold. */
async function holdings({ pools, observer }: TestBank) {
  const { rows } = await pools.accounts.query<object>('select * from account order by id')
  const [wallets] = await pools.wallets.query('select * from wallet order by id')
  const { rows: oneSide } = await pools.accounts.query<{ id: string }>('select id from one_side')
  const [otherSide]: readonly unknown[] = await pools.wallets.query('select id from one_side')
  return {
    balances: [rows, wallets],
    books: [await observer.accounts(), await observer.wallets()] as const,
    oneSide: [...oneSide, ...(otherSide as readonly { id: string }[])].map(({ id }) => id),
  }
}

for (const markers of [true, false]) {
  const bank = await testBank({ markers })
  const urls = { accounts: bank.postgres.url, wallets: bank.mysql.url }
  await bank.pools.accounts.query('create table one_side (id varchar(64) primary key)')
  await bank.pools.wallets.query('create table one_side (id varchar(64) primary key)')

  describe(`killed with ${markers ? 'marker tables' : 'default settings'}`, () => {
    it.each(CASES.map((row) => [row.title, row] as const))('%s', async (_, row) => {
      const { point, scenario, outcome, before } = row
      const log = await logDirectory()
      const run = `${point}-${scenario}-${before ?? ''}`
      const heard: Heard[] = []
      if (before !== undefined) {
        const first = { SCENARIO: 'commit', POINT: before, RUN: run }
        heard.push(...(await crash(urls, log, first)))
      }
      const met = scenario === 'many' ? MET_BEFORE_KILL : 1
      const words = { SCENARIO: scenario, POINT: point, RUN: run, ON: String(met) }
      heard.push(...(await crash(urls, log, words)))

      expect(await recover(bank, log)).toEqual([])

      const after = await holdings(bank)
      const [accounts, wallets] = after.books
      expect(accounts.transfers).toEqual(wallets.transfers)
      expect(accounts.moved).toBe(wallets.moved)
      expect(PLACES * START_BALANCE - accounts.money).toBe(accounts.moved)
      expect(wallets.money - PLACES * START_BALANCE).toBe(wallets.moved)
      expect(heard.length).toBeGreaterThanOrEqual(2)
      for (const { id, answer } of heard) {
        expect(answer).toBe('committed')
        expect(accounts.transfers, id).toContain(id)
      }
      const last = `${run}-last`
      const done = accounts.transfers.has(last) || after.oneSide.includes(last)
      if (outcome !== 'either') expect(done).toBe(outcome === 'committed')
      await bank.observer.lockAll()

      expect(await recover(bank, log), 'recovering again').toEqual([])
      expect(await holdings(bank)).toEqual(after)
      expect(await bank.markers()).toBe(0)
    })
  })
}
