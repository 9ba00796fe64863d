/**
 * The stage on which each case of the contract plays, and the questions that all cases ask.
 */
import assert from 'node:assert/strict'
import type { Branch, BranchEvidence, Vote, Xid } from '../../src/adapter.ts'
import {
  type ContractHarness,
  eventually,
  type Opened,
  type OpenOptions,
  pause,
  type RawSession,
} from './harness.ts'

export interface ContractCase {
  readonly name: string
  run(harness: ContractHarness): Promise<void>
}

export interface Stage {
  readonly opened: Opened
  readonly other: RawSession
  readonly harness: ContractHarness
}

/** How long a case that failed waits for its connections, in ms. */
const FAILED_MS = 1_000

/** A case on a fresh participant, that must leave nothing prepared and every connection idle. */
export function contract(
  name: string,
  body: (stage: Stage) => Promise<void>,
  options: OpenOptions = {},
): ContractCase {
  return {
    name,
    async run(harness) {
      const opened = await harness.open(options)
      const other = await harness.session()
      let ended = false
      try {
        await other.run('DROP TABLE IF EXISTS item')
        await other.run('CREATE TABLE item (id int PRIMARY KEY, v int)')
        await body({ opened, other, harness })
        ended = options.closes === true
        if (ended) return
        const left = (await opened.participant.list()).filter((one) => one.xid !== undefined)
        assert.deepEqual(left, [], 'prepared branches left behind')
        await eventually('every connection is idle', async () => {
          const { total, idle } = opened.pool()
          return total === idle
        })
        ended = true
      } finally {
        other.close()
        const closing = opened.close()
        // A case that failed may have left a connection out, for which a pool waits as long as it takes:
        // what failed is to be heard, and not that.
        await (ended ? closing : Promise.race([closing.catch(() => undefined), pause(FAILED_MS)]))
      }
    },
  }
}

export const both = (
  name: string,
  body: (stage: Stage) => Promise<void>,
): readonly [ContractCase, ContractCase] => [
  contract(`${name}, without markers`, body, { markers: false }),
  contract(`${name}, with markers`, body, { markers: true }),
]

export async function ids(other: RawSession): Promise<readonly number[]> {
  const rows = await other.run('SELECT id FROM item ORDER BY id')
  return rows.map((row) => Number(row['id']))
}

export function xidOf(branch: Branch): Xid {
  assert.ok(branch.xid, 'the branch has an xid')
  return branch.xid
}

export function evidenceOf(vote: Vote): BranchEvidence {
  assert.equal(vote.kind, 'prepared', `voted ${vote.kind}`)
  return vote.kind === 'prepared' ? vote.evidence : { server: noServer, marker: false }
}

const noServer = { server: '', startedAtMs: 0 }

export async function listed(opened: Opened, branch: Branch): Promise<boolean> {
  const { gtrid, bqual } = xidOf(branch)
  const all = await opened.participant.list()
  return all.some((one) => one.xid?.gtrid === gtrid && one.xid.bqual === bqual)
}

export const INSERT: string = 'INSERT INTO item VALUES (1, 1)'

/** Runs beside somebody who has changed a row and not committed, until `unlock` is called. */
export async function besideLock(
  { other, harness }: Stage,
  run: (unlock: () => void) => Promise<void>,
): Promise<void> {
  await other.run('INSERT INTO item VALUES (5, 5)')
  const holder = await harness.session()
  try {
    await holder.run('BEGIN')
    await holder.run('UPDATE item SET v = 6 WHERE id = 5')
    await run(() => holder.close())
  } finally {
    holder.close()
  }
}
