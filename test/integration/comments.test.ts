/**
 * Where a text begins is for its server to say: what each reads as COMMIT behind blanks and comments
 * is what the gate refuses, for thousands of texts made of the pieces on which they differ.
 */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { controlOf } from '../../adapters/dialect/control.ts'
import { mysqlSession } from '../contract/mysql-harness.ts'
import { pgSession } from '../contract/pg-harness.ts'
import { sharedServers } from '../support/databases.ts'

const PIECES = ['/*', '*/', '/', '*', '--', '-', '#', ' ', '\t', '\f', '\n', '\r', ';', "'", 'x']
/** What a server older than the number skips, all servers of the matrix run: but not what is newer. */
const RUN = ['/*!', '/*!50000', '/*!50000 ', '/*+']

function texts(pieces: readonly string[]): fc.Arbitrary<string> {
  const some = fc.array(fc.constantFrom(...pieces), { maxLength: 8 })
  return fc
    .tuple(some, fc.constantFrom('COMMIT', 'commit', '\nCOMMIT', ''), some)
    .map(([before, verb, after]) => before.join('') + verb + after.join(''))
}

function sample(pieces: readonly string[]): readonly string[] {
  return fc.sample(texts(pieces), { numRuns: 4_000, seed: 20_26 })
}

describe('transaction control is found where the server finds it', () => {
  it('PostgreSQL', async () => {
    const session = await pgSession(sharedServers().postgres.url)
    const wrong: string[] = []
    let ended = 0
    for (const text of sample([...PIECES, ...RUN])) {
      await session.run('BEGIN')
      await session.run(text).catch(() => undefined)
      // Outside of a block a SAVEPOINT is refused by 25P01; in one that an error has aborted, by 25P02.
      const code = await answerOf(session.run('SAVEPOINT here'))
      const state = code === undefined ? 'goes on' : code === '25P01' ? 'ended' : 'aborted'
      if (state === 'ended') ended += 1
      const found = controlOf(text, 'PostgreSQL')?.kind === 'commit'
      if ((state === 'ended' && !found) || (state === 'goes on' && found)) wrong.push(text)
      await session.run('ROLLBACK')
    }
    session.close()
    expect(wrong).toEqual([])
    expect(ended).toBeGreaterThan(100)
  })

  it('MySQL and MariaDB', async () => {
    const session = await mysqlSession(sharedServers().mysql.url)
    await session.run("XA START 'here'")
    const wrong: string[] = []
    let refused = 0
    for (const text of sample([...PIECES, ...RUN])) {
      const errno = await answerOf(session.run(text))
      if (errno === 1399) refused += 1
      // A semicolon in front is an empty statement to PostgreSQL, and a mistake (1064) here.
      const found = controlOf(text, 'MySQL')?.kind === 'commit'
      if ((errno === 1399 && !found) || (errno === undefined && found)) wrong.push(text)
    }
    await session.run("XA END 'here'")
    await session.run("XA ROLLBACK 'here'")
    session.close()
    expect(wrong).toEqual([])
    expect(refused).toBeGreaterThan(100)
  })
})

/** The server's code for what it refuses; `undefined` for what it does. */
async function answerOf(work: Promise<unknown>): Promise<unknown> {
  try {
    await work
    return undefined
  } catch (cause) {
    const { errno, code } = cause as { readonly errno?: number; readonly code?: string }
    return errno ?? code
  }
}
