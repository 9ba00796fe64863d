/**
 * The log is lost: a real process is killed at every point of the commit, its log is deleted, and the
 * databases alone are asked, by the command that an operator would give.
 */
import { describe, expect, it } from 'vitest'
import type { Failpoint } from '../../src/failpoint.ts'
import { testBank } from '../support/bank.ts'
import { Left, LostLogs, operator } from '../support/lost-log.ts'

const bank = await testBank({ markers: true })
const command = await operator()
const logs = new LostLogs(bank, command)

/** What became of the transfer in which the process died. */
const REQUIRED: readonly (readonly [Failpoint, 'rolled back' | 'committed'])[] = [
  ['begin:done', 'rolled back'],
  ['prepare:before', 'rolled back'],
  ['prepare:after-first', 'rolled back'],
  ['prepare:after-all', 'rolled back'],
  ['decide:before', 'rolled back'],
  ['log:before-write', 'rolled back'],
  ['log:after-write', 'rolled back'],
  ['log:after-sync', 'rolled back'],
  // Until one database has committed, no caller has heard of it: the decision may go with the log.
  ['decide:after', 'rolled back'],
  ['commit:before', 'rolled back'],
  ['commit:after-first', 'committed'],
  ['commit:after-all', 'committed'],
]

describe('killed at every point of the commit, and the log deleted', () => {
  it.each(REQUIRED)('%s: %s', async (point, outcome) => {
    const { logId, last, heard } = await logs.lose(point)
    await logs.recoverAll(logId)
    const transfers = await logs.agree()
    expect(transfers.has(last)).toBe(outcome === 'committed')
    expect(heard.map(({ answer }) => answer)).toEqual(['committed', 'committed'])
    for (const { id } of heard) expect(transfers, id).toContain(id)
  })

  it.each<readonly [Failpoint, number]>([
    ['prepare:after-first', 25],
    ['decide:after', 25],
    ['log:after-sync', 5],
    ['commit:before', 25],
    ['commit:after-first', 25],
    ['commit:after-all', 25],
  ])(
    '%s, met %i times by twelve at a time: nobody heard "committed" in vain',
    async (point, on) => {
      const { logId, heard } = await logs.lose(point, { scenario: 'many', on })
      await logs.recoverAll(logId)
      const transfers = await logs.agree()
      expect(heard.length).toBeGreaterThan(3)
      for (const { id, answer } of heard) {
        expect(answer).toBe('committed')
        expect(transfers, id).toContain(id)
      }
    },
  )
})

describe('the command', () => {
  it('plans first, and changes nothing: 3', async () => {
    const { logId } = await logs.loseBoth()
    const { code, out, err } = await command(logs.config(), '--owner-is-dead', `una1-${logId}`)
    expect([code, err]).toEqual([3, 'Run again with --apply.\n'])
    const id = `una1-${logId}-1\\.\\w{8}-3`
    const why = 'no database has committed it, nor will'
    expect(out).toMatch(
      new RegExp(
        `^Plan \\(dry run, nothing was changed\\):
  1  roll back  ${id}  accounts  ${why}
  2  roll back  ${id}  wallets   ${why}
$`,
      ),
    )
    const words = ['--owner-is-dead', logId, '--json']
    const { plan, left } = Left.parse(JSON.parse((await command(logs.config(), ...words)).out))
    expect([plan?.map(({ action }) => action), left]).toEqual([['roll back'], []])
    expect(await logs.prepared(logId)).toEqual(['accounts', 'wallets'])

    const done = await command(logs.config(), '--owner-is-dead', logId, '--apply')
    expect([done.code, done.err]).toEqual([0, ''])
    expect(done.out).toMatch(
      new RegExp(
        `^Done:\n {2}rolled back {2}${id} {2}accounts\n {2}rolled back {2}${id} {2}wallets\n$`,
      ),
    )
    const again = await command(logs.config(), '--owner-is-dead', logId, '--apply')
    expect([again.code, again.err]).toEqual([0, ''])
    expect(again.out).toBe('No database lists a prepared branch of this library.\n')
    await logs.agree()
  })

  it.each(['accounts', 'wallets'] as const)(
    'commits the rest of what %s has committed, without anybody’s word',
    async (first) => {
      const { logId, last } = await logs.loseBoth('decide:after')
      await logs.commitIn(first, logId)
      const rest = first === 'accounts' ? 'wallets' : 'accounts'
      expect(await logs.prepared(logId)).toEqual([rest])
      const plan = await command(logs.config())
      expect([plan.code, plan.err]).toEqual([3, 'Run again with --apply.\n'])
      expect(plan.out).toMatch(new RegExp(`1 {2}commit .* ${rest} +committed in ${first}\n$`))
      const { code, err } = await command(logs.config(), '--apply', '--wait', '20s')
      expect([code, err, await logs.prepared(logId)]).toEqual([0, '', []])
      expect(await logs.agree()).toContain(last)
    },
  )

  it.each([
    [['--owner-is-dead', 'nonsense'], 'nonsense is no log id'],
    [['--participant', 'accounts'], '--from-databases asks every participant'],
  ])('%o: wrong usage', async (words, message) => {
    const { code, err } = await command(logs.config(), ...words)
    expect([code, err]).toEqual([2, expect.stringContaining(message)])
  })
})
