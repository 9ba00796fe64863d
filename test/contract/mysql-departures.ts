/**
 * T11: MariaDB says OK to XA COMMIT from elsewhere while the session that prepared the branch is ending,
 * and commits nothing. What is told of that session, and when the verb may go.
 */
import assert from 'node:assert/strict'
import { parseBqual, type Xid } from 'unanimous/adapter'
import { branchOf, pause, requestOf } from '../../adapters/contract/harness.ts'
import {
  type ContractCase,
  contract,
  evidenceOf,
  INSERT,
  ids,
  xidOf,
} from '../../adapters/contract/stage.ts'
import { isMariadb } from './mysql-traps.ts'

export const departures: readonly ContractCase[] = [
  contract(
    'T11: MariaDB is asked who has left before XA COMMIT goes from elsewhere',
    async ({ opened, other }) => {
      await other.run("SET GLOBAL log_output = 'TABLE'")
      await other.run('SET GLOBAL general_log = ON')
      const branch = branchOf(opened)
      await opened.run(branch, INSERT)
      evidenceOf(await branch.vote())
      branch.abandon()
      const { gtrid } = xidOf(branch)
      const settled = await opened.participant.settle(xidOf(branch), 'commit')
      await other.run('SET GLOBAL general_log = OFF')
      assert.deepEqual(settled, { kind: 'answered' })
      const rows = await other.run(`SELECT CONVERT(argument USING utf8mb4) AS said
        FROM mysql.general_log WHERE thread_id IN (SELECT thread_id FROM mysql.general_log
          WHERE argument LIKE 'XA COMMIT%${gtrid}%') ORDER BY event_time`)
      const said = rows.map((row) => String(row['said']))
      const verb = said.findIndex((text) => text.startsWith('XA COMMIT'))
      const look = said.findIndex((text) => text.includes('information_schema.PROCESSLIST'))
      assert.ok(verb >= 0, 'the general log shows the verb')
      if (await isMariadb(other)) assert.ok(look >= 0 && look < verb, said.join('\n'))
      else assert.equal(look, -1, 'MySQL needs no look')
    },
  ),
  contract(
    'T11: what is committed as the session of its preparer ends, is committed',
    async ({ opened, other }) => {
      for (const [id, isRecorded] of [true, false].entries()) {
        await takeLongToEnd('item', (text) => opened.leak(text))
        const branch = branchOf(opened)
        await opened.run(branch, `INSERT INTO item VALUES (${id}, 1)`)
        const { server } = evidenceOf(await branch.vote())
        branch.abandon()
        await pause(ENDING_MS)
        const recorded = isRecorded ? { server, only: false } : undefined
        const settled = await opened.participant.settle(xidOf(branch), 'commit', recorded)
        assert.deepEqual(settled, { kind: 'answered' })
      }
      assert.deepEqual(await ids(other), [0, 1])
    },
    { poolSize: 1, merges: true },
  ),
  contract(
    'T11: a session that begins to end between the look and the verb costs no row',
    async ({ opened, other }) => {
      await takeLongToEnd('item', (text) => opened.leak(text))
      const branch = branchOf(opened)
      await opened.run(branch, INSERT)
      const { server } = evidenceOf(await branch.vote())
      const { threadId } = parseBqual(xidOf(branch).bqual)
      opened.proxy.halt({
        text: 'XA COMMIT',
        when: 'asked',
        async act(): Promise<'pass'> {
          await other.run(`KILL ${threadId}`).catch(() => undefined)
          await pause(ENDING_MS)
          return 'pass'
        },
      })
      const recorded = { server, only: false }
      const settled = await opened.participant.settle(xidOf(branch), 'commit', recorded)
      assert.deepEqual(settled, { kind: 'answered' })
      assert.deepEqual(await ids(other), [1])
    },
    { poolSize: 1, merges: true },
  ),
  contract(
    'rule 8: a branch whose session stays keeps no other one waiting',
    async ({ opened, other }) => {
      const [stays, leaves] = [branchOf(opened), branchOf(opened)]
      await opened.run(stays, 'INSERT INTO item VALUES (1, 1)')
      const { server } = evidenceOf(await stays.vote())
      await opened.run(leaves, 'INSERT INTO item VALUES (2, 1)')
      evidenceOf(await leaves.vote())
      leaves.abandon()
      await pause(100)
      const settled: string[] = []
      const settle = async (name: string, xid: Xid): Promise<void> => {
        const recorded = { server, only: false }
        const settlement = await opened.participant.settle(xid, 'commit', recorded)
        settled.push(`${name}: ${settlement.kind}`)
      }
      await Promise.all([settle('stays', xidOf(stays)), settle('leaves', xidOf(leaves))])
      await stays.rollback()
      assert.deepEqual(await ids(other), [1, 2])
      const inOrder = ['leaves: answered', 'stays: answered']
      assert.deepEqual((await isMariadb(other)) ? settled : settled.toSorted(), inOrder)
    },
  ),
  contract(
    'T11: a session that looks killed for a statement that was cancelled is ended',
    async ({ opened, other }) => {
      for (const [id, isRecorded] of [true, false].entries()) {
        const branch = branchOf(opened)
        await opened.run(branch, `INSERT INTO item VALUES (${id}, 1)`)
        const { server } = evidenceOf(await branch.vote())
        const { threadId } = parseBqual(xidOf(branch).bqual)
        await other.run(`KILL QUERY ${threadId}`)
        const recorded = isRecorded ? { server, only: false } : undefined
        const settled = await opened.participant.settle(xidOf(branch), 'commit', recorded)
        branch.abandon()
        assert.deepEqual(settled, { kind: 'answered' })
      }
      assert.deepEqual(await ids(other), [0, 1])
    },
  ),
  contract(
    'T11: a session of the same id in another life of the server is left alone',
    async ({ opened, other, harness }) => {
      const known = branchOf(opened)
      await opened.run(known, INSERT)
      const { server } = evidenceOf(await known.vote())
      await known.rollback()
      const lives = [
        { server: 'another', startedAtMs: 1 },
        { ...server, startedAtMs: server.startedAtMs - 60_000 },
      ]
      const stranger = await harness.session()
      const [self] = await stranger.run(harness.sessionId)
      for (const [at, decision] of (['commit', 'abort', 'commit', 'abort'] as const).entries()) {
        const { gtrid } = requestOf()
        const xid = { gtrid, bqual: `shop.${String(self?.['id'])}` }
        const preparer = await harness.session()
        const name = `'${xid.gtrid}','${xid.bqual}',1`
        await preparer.run(`XA START ${name}`)
        await preparer.run(`INSERT INTO item VALUES (${at}, 1)`)
        for (const verb of ['END', 'PREPARE']) await preparer.run(`XA ${verb} ${name}`)
        preparer.close()
        await pause(100)
        const life = lives[at >> 1]
        assert.ok(life)
        const recorded = { server: life, only: false }
        assert.deepEqual(await opened.participant.settle(xid, decision, recorded), {
          kind: 'answered',
        })
      }
      assert.deepEqual(await ids(other), [0, 2])
      await assert.doesNotReject(stranger.run('SELECT 1'), 'it goes on')
      stranger.close()
    },
  ),
]

/** In ms: by then a session with many prepared statements is ending, and has not left. */
const ENDING_MS = 10
const STATEMENTS = 12_000
const AT_ONCE = 500

/** Gives a session so many prepared statements that its end takes a tenth of a second. */
export async function takeLongToEnd(
  table: string,
  run: (text: string) => Promise<unknown>,
): Promise<void> {
  for (let at = 0; at < STATEMENTS; at += AT_ONCE) {
    const texts = Array.from(
      { length: AT_ONCE },
      (_, k) => `PREPARE s${at + k} FROM 'SELECT id FROM ${table} WHERE id = ${k} UNION SELECT 1'`,
    )
    await run(texts.join('; '))
  }
}
