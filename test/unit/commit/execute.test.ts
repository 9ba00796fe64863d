/** Statements given in advance, over participants in memory: what is given to whom, and when. */
import { describe, expect, it, onTestFinished } from 'vitest'
import { groupStatements } from '../../../src/commit/execute.ts'
import { Coordinator, TransactionError } from '../../../src/index.ts'
import { FakeParticipant, type Script } from '../../support/fake-participant.ts'
import { testFolders } from '../../support/folder.ts'

const folder = testFolders()

async function open(ledgerScript: Script = {}, shopScript: Script = {}) {
  const trace: string[] = []
  const ledger = new FakeParticipant(trace, ledgerScript)
  const shop = new FakeParticipant(trace, shopScript)
  const coordinator = await Coordinator.open({
    log: { directory: await folder(), allowUnsafeFileSystem: true },
    participants: { ledger, shop },
  })
  onTestFinished(async () => void (await coordinator.close({ drainMs: 0 })))
  trace.length = 0
  return { coordinator, trace, ledger, shop }
}

const A = { on: 'ledger', text: 'a' } as const
const B = { on: 'shop', text: 'b' } as const
const C = { on: 'ledger', text: 'c' } as const

describe('execute', () => {
  it('gives each branch its own, for the vote, and answers in the order of all', async () => {
    const { coordinator, trace } = await open()
    expect(await coordinator.execute([A, B, C])).toEqual([
      'ledger did a',
      'shop did b',
      'ledger did c',
    ])
    const said = trace.filter((line) => !line.endsWith('list'))
    expect(said).toEqual([
      'ledger given a, c with the vote',
      'shop given b with the vote',
      'ledger vote',
      'shop vote',
      'ledger commit',
      'shop commit',
    ])
  })

  it('runs at once what does not vote: the only writer, and declared readers', async () => {
    const { coordinator, trace } = await open({}, { probe: 'read-only' })
    await coordinator.execute([A, C])
    await coordinator.execute([A, B], { readOnly: ['shop'] })
    expect(trace.filter((line) => line.includes('given'))).toEqual([
      'ledger given a, c now',
      'ledger given a now',
      'shop given b now',
    ])
    expect(trace).not.toContain('ledger vote')
  })

  it('means the texts and values of the call, whatever the caller does with them afterwards', () => {
    const named = { amount: 1 }
    const values = [1]
    const statement = { on: 'ledger', text: 'a', values }
    const names = new Set(['ledger', 'shop'])
    const groups = groupStatements([statement], names)
    const [again] = groupStatements([{ on: 'shop', text: 'b', values: named }], names).values()
    values[0] = 2
    statement.text = 'another'
    named.amount = 2
    expect(groups.get('ledger')?.[0]?.statement).toEqual({ on: 'ledger', text: 'a', values: [1] })
    expect(again?.[0]?.statement.values).toEqual({ amount: 1 })
  })

  it('rolls back every branch when one does not take its statements', async () => {
    const refusal = new TransactionError('STATEMENT_FAILED', 'no', {
      outcome: 'rolled-back',
      gtrid: '',
    })
    const { coordinator, ledger, shop } = await open({}, { refuseGiven: refusal })
    await expect(coordinator.execute([A, B])).rejects.toMatchObject({ outcome: 'rolled-back' })
    expect([ledger.committed.size, shop.committed.size, ledger.rolledBack.size]).toEqual([0, 0, 1])
  })

  it('answers nothing of a transaction that was rolled back', async () => {
    const no = { code: 'PREPARE_REFUSED', reason: 'no', retryable: true } as const
    const { coordinator, trace, ledger } = await open({}, { vote: no })
    const asked = coordinator.execute([A, B], { retry: { attempts: 2, minDelayMs: 0 } })
    await expect(asked).rejects.toMatchObject({ code: 'PREPARE_REFUSED', attempts: 2 })
    expect(trace.filter((line) => line.startsWith('ledger given'))).toHaveLength(2)
    expect(ledger.rolledBack.size).toBe(2)
  })

  it('is no part of the transaction around it, and says so', async () => {
    const { coordinator, trace } = await open()
    const inside = coordinator.transaction(async () => {
      const heard = await coordinator.execute([A]).catch((cause: unknown) => cause)
      expect(heard).toMatchObject({ code: 'INVALID_OPTION', outcome: 'rolled-back' })
      await coordinator.outside(() => coordinator.execute([A]))
    })
    await inside
    expect(trace.filter((line) => line.includes('given'))).toEqual(['ledger given a now'])
  })

  it('is refused once the coordinator is closed', async () => {
    const { coordinator } = await open()
    await coordinator.close()
    await expect(coordinator.execute([A])).rejects.toMatchObject({ code: 'COORDINATOR_CLOSED' })
  })
})
