import { describe, expect, it } from 'vitest'
import { conclude } from '../../../src/protocol/outcome.ts'

describe('the conclusion from the answers of all branches', () => {
  it.each([
    [['committed', 'committed'], 'committed'],
    [['committed', 'committed-unproven'], 'committed'],
    [['committed', undefined], 'unfinished'],
    [['committed', 'heuristic-rollback'], 'mixed'],
    [['heuristic-rollback', undefined], 'mixed'],
    [['heuristic-hazard', 'committed'], 'hazard'],
    [['heuristic-hazard', 'heuristic-rollback'], 'mixed'],
    [['heuristic-hazard', undefined], 'hazard'],
  ] as const)('%j is %s', (answers, conclusion) => {
    expect(conclude([...answers])).toBe(conclusion)
  })
})
