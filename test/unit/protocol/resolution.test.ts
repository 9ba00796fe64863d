import { expect, it } from 'vitest'
import { resolve } from '../../../src/protocol/resolution.ts'
import type { BranchRecord } from '../../../src/protocol/vocabulary.ts'

const GTRID = 'una1-0000000000000000-1.00000000-1'

it('two branches of one transaction in one list are each there, and a third is absent', () => {
  const record = (bqual: string): BranchRecord => ({
    participant: 'ledger',
    bqual,
    server: { server: 's', startedAtMs: 1 },
    marker: false,
  })
  const commit = {
    record: { gtrid: GTRID, branches: ['ledger.1', 'ledger.2', 'ledger.3'].map(record) },
    answers: new Map(),
  }
  const listed = ['ledger.1', 'ledger.2'].map((bqual) => ({
    id: bqual,
    xid: { gtrid: GTRID, bqual },
  }))
  const plan = resolve({
    participant: 'ledger',
    configured: new Set(['ledger']),
    logId: '0000000000000000',
    standing: () => 'older',
    settleable: [commit],
    listed,
    live: new Set(),
    decision: () => commit,
  })
  expect(plan.map(({ kind }) => kind)).toEqual(['commit', 'commit', 'absent'])
  expect(plan[2]).toMatchObject({ record: { bqual: 'ledger.3' } })
})
