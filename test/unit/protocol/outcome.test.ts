import { describe, expect, it } from 'vitest'
import { compareServer, conclude } from '../../../src/protocol/outcome.ts'

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

describe('the life of a server', () => {
  const recorded = { server: 'a', startedAtMs: 100_000 }

  it.each([
    [{ server: 'a', startedAtMs: 100_000 }, 'same'],
    [{ server: 'a', startedAtMs: 101_999 }, 'same'],
    [{ server: 'a', startedAtMs: 98_001 }, 'same'],
    [{ server: 'a', startedAtMs: 102_001 }, 'restarted'],
    [{ server: 'b', startedAtMs: 100_000 }, 'other-server'],
  ] as const)('%j is %s', (now, life) => {
    expect(compareServer(recorded, now)).toBe(life)
  })
})
