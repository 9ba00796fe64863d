/** Every command's `--json` against its published schema, on a real log and participants in memory. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { OutputName } from '../../../scripts/schemas/outputs.ts'
import { OUTPUT_NAMES } from '../../../scripts/schemas.ts'
import { runCli } from '../../../src/cli/program.ts'
import { systemClock } from '../../../src/clock.ts'
import { nodeFileSystem } from '../../../src/log/node-file-system.ts'
import { FakeParticipant, gid } from '../../support/fake-participant.ts'
import { expectOutput } from '../../support/json-output.ts'
import { commitOne, SMALL_SEGMENT, testLog } from '../../support/test-log.ts'

const PLACE = Symbol.for('unanimous.test.json')
let folder = ''
let ledger = new FakeParticipant([])
let shop = new FakeParticipant([])
let gtrid = ''

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'unanimous-cli-json-'))
  ledger = new FakeParticipant([])
  shop = new FakeParticipant([])
  Object.assign(globalThis, { [PLACE]: { ledger, shop } })
  await writeFile(
    join(folder, 'unanimous.config.mjs'),
    `export default {
      log: { directory: 'decisions', allowUnsafeFileSystem: true },
      participants: globalThis[Symbol.for('unanimous.test.json')],
    }`,
  )
  const test = testLog(nodeFileSystem, { nextTurn: (next) => void setImmediate(next) })
  const directory = join(folder, 'decisions')
  const log = await test.start({
    directory,
    allowUnsafeFileSystem: true,
    segmentBytes: SMALL_SEGMENT,
  })
  gtrid = await commitOne(log, { name: 'transfer', meta: '{"id":"T-1"}' })
  for (const [one, bqual] of [
    [ledger, 'ledger'],
    [shop, 'shop.4711'],
  ] as const) {
    one.prepared.set(gid({ gtrid, bqual }), { gtrid, bqual })
  }
  const orphan = { gtrid: 'una1-1111111111111111-1.00000000-1', bqual: 'ledger' }
  ledger.prepared.set(gid(orphan), orphan)
  await log.close()
})

afterEach(() => rm(folder, { recursive: true }))

/** Runs the command, holds what it printed to the schema, and answers its exit code. */
async function json(name: OutputName, ...args: string[]): Promise<number> {
  let out = ''
  const code = await runCli([...args, '--json'], {
    cwd: folder,
    clock: systemClock,
    interactive: false,
    out: (text) => {
      out += text
    },
    err: () => undefined,
    paint: (_, text) => text,
  })
  const lines = name === 'log-dump' ? out.trim().split('\n') : [out]
  for (const line of lines) expectOutput(name, line)
  return code
}

const REASON = ['--reason', 'a test']

/** In an order in which each has something to say. */
const RUNS: readonly (readonly [OutputName, readonly string[], number])[] = [
  ['status', ['status'], 3],
  ['list', ['list'], 3],
  ['list', ['list', '--limit', '1', '--after', '1.zzzzzzzz-1'], 3],
  ['show', ['show', '1.'], 3],
  ['orphans', ['orphans'], 0],
  ['drain', ['drain', '--apply'], 0],
  ['doctor', ['doctor'], 0],
  ['init', ['init'], 0],
  ['init', ['init', '--apply'], 5],
  ['recover', ['recover'], 3],
  ['recover-from-databases', ['recover', '--from-databases'], 3],
  ['log-verify', ['log', 'verify'], 0],
  ['log-dump', ['log', 'dump'], 0],
  ['log-compact', ['log', 'compact'], 0],
  ['log-adopt', ['log', 'adopt'], 3],
  ['log-adopt', ['log', 'adopt', '--log', 'decisions', '--apply'], 0],
  ['resolve', ['resolve', '1.', '--commit', '--branch', 'ledger', ...REASON], 3],
  ['resolve', ['resolve', '1.', '--commit', '--branch', 'ledger', ...REASON, '--apply'], 3],
  ['recover', ['recover', '--apply'], 0],
  ['show', ['show', '1.'], 0],
  ['status', ['status'], 0],
]

describe('--json', { timeout: 60_000 }, () => {
  it('of every command validates against its published schema', async () => {
    const seen = new Set<OutputName>(['forget'])
    for (const [name, args, code] of RUNS) {
      expect([args.join(' '), await json(name, ...args)]).toEqual([args.join(' '), code])
      seen.add(name)
    }
    expect([...seen].toSorted()).toEqual(OUTPUT_NAMES.toSorted())
  })

  it('of forget, after somebody rolled a branch back', async () => {
    shop.prepared.clear()
    shop.script.proof = { kind: 'rolled-back', by: 'transaction id' }
    expect(await json('recover', 'recover', '--apply')).toBe(4)
    expect(await json('forget', 'forget', gtrid, ...REASON)).toBe(3)
    expect(await json('forget', 'forget', gtrid, ...REASON, '--apply')).toBe(0)
    expect(await json('show', 'show', gtrid)).toBe(0)
  })

  it('tells of participants that cannot be asked, of damage, and of copies', async () => {
    shop.script.unreachable = true
    expect(await json('list', 'list')).toBe(5)
    expect(await json('status', 'status')).toBe(5)
    expect(await json('doctor', 'doctor')).toBe(5)
    const alien = { gtrid: gtrid.replace(/-\w+\.\w+-/, '-9.zzzzzzzz-'), bqual: 'ledger' }
    ledger.prepared.set(gid(alien), alien)
    expect(await json('log-adopt', 'log', 'adopt')).toBe(7)
    const segment = join(folder, 'decisions', 'segment-0000000001.log')
    await writeFile(segment, Buffer.alloc(SMALL_SEGMENT, 0xa5))
    expect(await json('log-verify', 'log', 'verify')).toBe(7)
  })
})
