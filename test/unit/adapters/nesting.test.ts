/** Transactions of several clients on one connection, as savepoints: what is said, and what is refused. */
import { describe, expect, it } from 'vitest'
import { type Client, Nesting, newClient } from '../../../adapters/dialect/nesting.ts'

type Verb = 'begin' | 'commit' | 'rollback'

function stage() {
  const nesting = new Nesting()
  const said: string[] = []
  const act = (client: Client, verb: Verb) => {
    const isolation = undefined
    const step = nesting.plan({ client, savepoints: [] }, { kind: verb, tag: verb, isolation })
    if ('conflict' in step) throw new Error(step.conflict)
    said.push(...(step.texts ?? []))
    step.apply()
  }
  const mark = (client: Client, kind: 'savepoint' | 'release' | 'rollback to', name: string) => {
    const step = nesting.plan({ client, savepoints: [] }, { kind, name })
    if ('conflict' in step) throw new Error(step.conflict)
    said.push(...(step.texts ?? ['as it is']))
    step.apply()
  }
  const work = (client: Client, savepoints: readonly string[] = []) =>
    nesting.work({ client, savepoints })
  return { nesting, said, act, mark, work, a: newClient(), b: newClient() }
}

describe('nested transactions', () => {
  it('of one client are savepoints, inner first', () => {
    const { act, said, a } = stage()
    for (const verb of ['begin', 'begin', 'rollback', 'commit'] as const) act(a, verb)
    expect(said).toEqual([
      'SAVEPOINT una_1',
      'SAVEPOINT una_2',
      'ROLLBACK TO SAVEPOINT una_2',
      'RELEASE SAVEPOINT una_2',
      'RELEASE SAVEPOINT una_1',
    ])
  })

  it('of two clients side by side both commit: the lower savepoint goes last', () => {
    const { act, said, work, a, b } = stage()
    act(a, 'begin')
    work(a)
    act(b, 'begin')
    work(b)
    act(a, 'commit')
    expect(said).toEqual(['SAVEPOINT una_1', 'SAVEPOINT una_2'])
    act(b, 'commit')
    expect(said.slice(2)).toEqual(['RELEASE SAVEPOINT una_1'])
  })

  it('a roll-back is refused where another client has worked above it', () => {
    const { act, work, a, b } = stage()
    act(a, 'begin')
    work(b)
    expect(() => act(a, 'rollback')).toThrow('another connection')
  })

  it('a roll-back is refused where another client has committed above it', () => {
    const { act, a, b } = stage()
    act(a, 'begin')
    act(b, 'begin')
    act(b, 'commit')
    expect(() => act(a, 'rollback')).toThrow('another connection')
  })

  it('the upper of two clients may roll back, and the lower may commit then', () => {
    const { act, said, work, a, b } = stage()
    act(a, 'begin')
    work(a)
    act(b, 'begin')
    work(b)
    act(b, 'rollback')
    act(a, 'commit')
    expect(said.slice(2)).toEqual([
      'ROLLBACK TO SAVEPOINT una_2',
      'RELEASE SAVEPOINT una_2',
      'RELEASE SAVEPOINT una_1',
    ])
  })

  it('a client that worked above a committed savepoint of another keeps its work', () => {
    const { act, said, work, a, b } = stage()
    act(a, 'begin')
    act(b, 'begin')
    act(a, 'commit')
    work(b)
    act(b, 'rollback')
    expect(said.slice(2)).toEqual(['ROLLBACK TO SAVEPOINT una_2', 'RELEASE SAVEPOINT una_1'])
  })

  it('two clients may give their savepoints the same name, and each means its own', () => {
    const { mark, work, said, a, b } = stage()
    mark(a, 'savepoint', 'typeorm_1')
    work(a)
    mark(b, 'savepoint', 'typeorm_1')
    work(b)
    mark(b, 'rollback to', 'typeorm_1')
    mark(a, 'release', 'typeorm_1')
    mark(b, 'release', 'typeorm_1')
    expect(said).toEqual([
      'SAVEPOINT una_1',
      'SAVEPOINT una_2',
      'ROLLBACK TO SAVEPOINT una_2',
      'RELEASE SAVEPOINT una_1',
    ])
  })

  it('a name given twice stands for the newer savepoint, and then for the older', () => {
    const { mark, said, a } = stage()
    mark(a, 'savepoint', 's')
    mark(a, 'savepoint', 's')
    mark(a, 'release', 's')
    mark(a, 'rollback to', 's')
    mark(a, 'rollback to', 's')
    expect(said.slice(2)).toEqual([
      'RELEASE SAVEPOINT una_2',
      'ROLLBACK TO SAVEPOINT una_1',
      'ROLLBACK TO SAVEPOINT una_1',
    ])
  })

  it("a savepoint of somebody else's is refused, one of nobody's is the server's affair", () => {
    const { act, mark, said, a, b } = stage()
    mark(a, 'savepoint', 'inner')
    act(a, 'begin')
    for (const name of ['inner', 'una_2']) {
      expect(() => mark(b, 'rollback to', name)).toThrow('belongs to another connection')
      expect(() => mark(b, 'release', name)).toThrow('belongs to another connection')
    }
    mark(b, 'release', 'nobody_set_it')
    expect(said.at(-1)).toBe('as it is')
  })

  it('an abandoned client is rolled back to its outermost begin', () => {
    const { act, nesting, a } = stage()
    act(a, 'begin')
    act(a, 'begin')
    expect(nesting.unended).toBe(true)
    expect(nesting.abandon(a)).toMatchObject({
      texts: ['ROLLBACK TO SAVEPOINT una_1', 'RELEASE SAVEPOINT una_1'],
    })
    a.released = true
    expect(nesting.unended).toBe(false)
  })

  it('a savepoint of the whole transaction is its own for every client behind it', () => {
    const { nesting, work, a, b } = stage()
    expect(nesting.missing(['s1', 's2'])).toEqual(['s1', 's2'])
    nesting.marked('s1')
    expect(nesting.missing(['s1', 's2'])).toEqual(['s2'])
    work(a, ['s1'])
    work(b, ['s1'])
    expect(nesting.endSavepoint('s1', 'rollback')).toMatchObject({
      texts: ['ROLLBACK TO SAVEPOINT s1', 'RELEASE SAVEPOINT s1'],
    })
    work(a, [])
    expect(nesting.endSavepoint('s1', 'rollback')).toHaveProperty('conflict')
    expect(nesting.endSavepoint('s9', 'rollback')).toBeUndefined()
  })
})
