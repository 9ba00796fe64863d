/** `unanimous log …`, on real directories. */
import { cp, mkdtemp, open, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { EXIT } from '../../../src/cli/exit-codes.ts'
import { runCli } from '../../../src/cli/program.ts'
import { systemClock } from '../../../src/clock.ts'
import type { DecisionLog, OperatedLog } from '../../../src/log/decision-log.ts'
import { nodeFileSystem } from '../../../src/log/node-file-system.ts'
import { type DumpedBatch, dumpLog, readLog } from '../../../src/log/read-log.ts'
import { FakeParticipant } from '../../support/fake-participant.ts'
import { commitOne, endOne, SMALL_SEGMENT, testLog, unawaited } from '../../support/test-log.ts'

const LEDGER = Symbol.for('unanimous.test.ledger')
const PAGE = 4096
let folder = ''
let directory = ''
let held: DecisionLog[] = []
let ledger = new FakeParticipant([])

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'unanimous-cli-log-'))
  directory = join(folder, 'decisions')
  ledger = new FakeParticipant([])
  Object.assign(globalThis, { [LEDGER]: ledger })
  await configure('decisions')
})

afterEach(async () => {
  await Promise.all(held.map((log) => log.close()))
  held = []
  await rm(folder, { recursive: true })
})

/** A tmpfs will do for a test. */
async function configure(log: string): Promise<void> {
  const text = `export default {
    log: { directory: '${log}', allowUnsafeFileSystem: true },
    participants: { ledger: globalThis[Symbol.for('unanimous.test.ledger')] },
  }`
  await writeFile(join(folder, 'unanimous.config.mjs'), text)
}

async function run(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  let out = ''
  let err = ''
  const code = await runCli(args, {
    cwd: folder,
    clock: systemClock,
    interactive: false,
    out: (text) => {
      out += text
    },
    err: (text) => {
      err += text
    },
    paint: (_, text) => text,
  })
  return { code, out, err }
}

async function openLog(): Promise<OperatedLog> {
  const test = testLog(nodeFileSystem, { nextTurn: (next) => void setImmediate(next) })
  const options = { directory, allowUnsafeFileSystem: true, segmentBytes: SMALL_SEGMENT }
  const log = await test.start(options)
  held.push(log)
  return log
}

/** A log of two pending commits and one that has ended; answers what is pending. */
async function makeLog(): Promise<string[]> {
  const log = await openLog()
  const pending = [await commitOne(log, { name: 'transfer', meta: '{"id":"T-1"}' })]
  // It rides on the force of the next commit.
  unawaited(endOne(log, await commitOne(log)))
  pending.push(await commitOne(log))
  await log.close()
  return pending
}

async function batches(): Promise<DumpedBatch[]> {
  const all: DumpedBatch[] = []
  for await (const batch of dumpLog(directory, nodeFileSystem)) all.push(batch)
  return all
}

async function damage(file: string, ...offsets: readonly number[]): Promise<void> {
  const handle = await open(file, 'r+')
  for (const offset of offsets) await handle.write(Buffer.from('damage'), 0, 6, offset + 100)
  await handle.close()
}

async function bytesOf(path: string): Promise<Map<string, string>> {
  const names = (await readdir(path)).toSorted()
  return new Map(
    await Promise.all(
      names.map(async (name) => [name, await readFile(join(path, name), 'latin1')] as const),
    ),
  )
}

const Verdict = z.object({
  schemaVersion: z.literal(1),
  generatedAt: z.iso.datetime(),
  log: z.object({ directory: z.string(), logId: z.string().nullable() }),
  files: z.array(z.object({ name: z.string(), bytes: z.number(), role: z.string() })),
  batches: z.number(),
  pending: z.number().nullable(),
  repairable: z.array(z.number()),
  torn: z.object({ offset: z.number(), bytes: z.number() }).nullable(),
  damage: z
    .object({ file: z.string(), offset: z.number(), behind: z.array(z.number()) })
    .nullable(),
})

async function verdict(): Promise<z.infer<typeof Verdict>> {
  return Verdict.parse(JSON.parse((await run('log', 'verify', '--json')).out))
}

describe('log verify', () => {
  it('says what is in each file of a sound log, and changes none', async () => {
    await makeLog()
    const before = await bytesOf(directory)
    const { code, out, err } = await run('log', 'verify')
    expect([code, err]).toEqual([EXIT.clean, ''])
    expect(out).toMatch(/^log .*decisions {2}una1-[0-9a-z]{16} {2}no process holds it$/m)
    expect(out).toMatch(/^segment-0000000001\.log +262144 +active: .* 2 commits not settled/m)
    expect(out).toMatch(/^spare +262144 /m)
    expect(out).toMatch(/^Sound\.$/m)
    expect(await bytesOf(directory)).toEqual(before)
  })

  it('tells damage by file and offset, and what lies on either side of it', async () => {
    await makeLog()
    const [, , broken, ...behind] = await batches()
    if (broken === undefined) throw new Error('too few batches')
    await damage(broken.file, broken.offset, broken.offset + PAGE)
    const { code, out, err } = await run('log', 'verify')
    expect(code).toBe(EXIT.corrupt)
    expect(err).toContain(`${broken.file} at offset ${broken.offset}`)
    expect(out).toContain(`damaged at offset ${broken.offset}: 2 whole batches before it`)
    const found = await verdict()
    expect(found.damage).toMatchObject({ file: broken.file, offset: broken.offset })
    expect(found.damage?.behind).toEqual(behind.map(({ batch }) => batch))
    expect(found.batches).toBe(2)
  })

  it('a header that is gone leaves nothing to read behind it', async () => {
    await makeLog()
    const [first] = await batches()
    await damage(first?.file ?? '', 0, PAGE)
    expect((await run('log', 'verify')).code).toBe(EXIT.corrupt)
    expect(await verdict()).toMatchObject({ batches: 0, damage: { offset: 0, behind: [] } })
  })

  it('damage of one copy is 3, until a compaction repairs it', async () => {
    await makeLog()
    const [, second] = await batches()
    await damage(second?.file ?? '', second?.offset ?? 0)
    const { code, out } = await run('log', 'verify')
    expect(code).toBe(EXIT.unsettled)
    expect(out).toContain(`Repairable: ${second?.file} at offset ${second?.offset}`)
    expect(await verdict()).toMatchObject({ repairable: [second?.offset], damage: null })
    expect(await run('log', 'compact')).toMatchObject({
      code: EXIT.clean,
      err: expect.stringContaining('restored from its copy'),
    })
    expect(await run('log', 'verify')).toMatchObject({ code: EXIT.clean })
  })

  it('a torn tail is no damage, and a compaction keeps a copy of it', async () => {
    const pending = await makeLog()
    const last = (await batches()).at(-1)
    const end = (last?.offset ?? 0) + 2 * PAGE
    await damage(last?.file ?? '', end)
    const { code, out } = await run('log', 'verify')
    expect(code).toBe(EXIT.clean)
    expect(out).toContain(`Torn tail: ${PAGE} bytes at offset ${end}, left by a crash`)
    expect((await verdict()).torn).toEqual({ offset: end, bytes: PAGE })
    expect((await run('log', 'compact')).err).toContain('a write that a crash cut short')
    const { files, pending: kept } = await verdict()
    expect(files.map(({ role }) => role)).toContain('cut')
    expect(kept).toBe(pending.length)
  })
})

describe('log dump', () => {
  it('prints every record as a line of a table', async () => {
    const [first = ''] = await makeLog()
    const { code, out, err } = await run('log', 'dump')
    expect([code, err]).toEqual([EXIT.clean, ''])
    expect(out).toMatch(/^BATCH +OFFSET +RECORD +AT +WHAT$/m)
    expect(out).toMatch(/^1 +8192 +checkpoint +\S+Z +una1-/m)
    const id = first.split('-').slice(2).join('-')
    expect(out).toMatch(new RegExp(`commit +\\S+Z +${id}  transfer  ledger, shop.4711$`, 'm'))
    expect(out).toMatch(/ end +- +\S+$/m)
  })

  it('prints JSON lines, one object a record', async () => {
    const [first] = await makeLog()
    const { code, out } = await run('log', 'dump', '--json')
    expect(code).toBe(EXIT.clean)
    const Line = z.looseObject({
      schemaVersion: z.literal(1),
      file: z.string(),
      offset: z.number(),
      batch: z.number(),
      type: z.string(),
      at: z.iso.datetime().nullable(),
    })
    const lines = out.trimEnd().split('\n')
    const records = lines.map((line) => Line.parse(JSON.parse(line)))
    const all = (await batches()).flatMap((batch) => batch.records)
    expect(records.map(({ type }) => type)).toEqual(all.map(({ type }) => type))
    expect(records.find(({ gtrid }) => gtrid === first)).toMatchObject({
      type: 'commit',
      name: 'transfer',
      meta: { id: 'T-1' },
      branches: [{ participant: 'ledger', xid8: '18446744073709551615' }, { bqual: 'shop.4711' }],
    })
  })

  it('shows what lies before damage, then says where that is', async () => {
    await makeLog()
    const [, , broken] = await batches()
    await damage(broken?.file ?? '', broken?.offset ?? 0, (broken?.offset ?? 0) + PAGE)
    const { code, out, err } = await run('log', 'dump', '--json')
    expect(code).toBe(EXIT.corrupt)
    expect(new Set(out.match(/"batch":\d+/g))).toEqual(new Set(['"batch":1', '"batch":2']))
    expect(err).toContain(`at offset ${broken?.offset}`)
  })
})

describe('a log that a process holds', () => {
  it('is read without its lock, and neither compacted nor adopted', async () => {
    const log = await openLog()
    const gtrid = await commitOne(log)
    const verified = await run('log', 'verify')
    expect(verified).toMatchObject({ code: EXIT.clean, err: '' })
    expect(verified.out).toContain(`held by process ${process.pid} on `)
    expect((await run('log', 'dump', '--json')).out).toContain(gtrid)
    const before = await bytesOf(directory)
    for (const args of [['compact'], ['adopt'], ['adopt', '--apply']]) {
      const { code, err } = await run('log', ...args)
      expect([args, code]).toEqual([args, EXIT.locked])
      expect(err).toContain(`held by process ${process.pid}`)
    }
    expect(await bytesOf(directory)).toEqual(before)
    await commitOne(log)
  })
})

describe('log compact', () => {
  it('keeps what is pending and nothing else, and says the sizes', async () => {
    const pending = await makeLog()
    const { code, out } = await run('log', 'compact')
    expect(code).toBe(EXIT.clean)
    expect(out).toMatch(/^before +[4-9] +\d+ +2 +\d+ KiB +\d+ KiB$/m)
    expect(out).toMatch(/^after +1 +\d+ +2 +\d+ KiB +\d+ KiB$/m)
    const { pending: kept } = await readLog(directory, nodeFileSystem)
    expect(kept.map(({ record }) => record.gtrid)).toEqual(pending)
    // The application's size of a segment, not the default.
    expect((await batches())[0]?.file).toContain('segment-0000000002.log')
    expect((await verdict()).files.map(({ bytes }) => bytes)).toEqual([262_144, 262_144])
  })

  it('refuses a damaged log, and leaves it as it is', async () => {
    await makeLog()
    const [, second] = await batches()
    await damage(second?.file ?? '', second?.offset ?? 0, (second?.offset ?? 0) + PAGE)
    const before = await bytesOf(directory)
    for (const args of [['compact'], ['adopt'], ['adopt', '--apply']]) {
      expect([args, (await run('log', ...args)).code]).toEqual([args, EXIT.corrupt])
    }
    expect(await bytesOf(directory)).toEqual(before)
  })
})

describe('log adopt', () => {
  it('a copied directory opens after it, with its commits and without its past', async () => {
    const pending = await makeLog()
    await cp(directory, join(folder, 'copy'), { recursive: true })
    directory = join(folder, 'copy')
    await configure('copy')
    await expect(openLog()).rejects.toMatchObject({ code: 'LOG_COPIED' })
    expect((await run('log', 'compact')).code).toBe(EXIT.corrupt)

    const before = await bytesOf(directory)
    const planned = await run('log', 'adopt')
    expect(planned.code).toBe(EXIT.unsettled)
    expect(planned.out).toContain('it was copied, moved or restored')
    expect(planned.out).toContain('Plan (dry run, nothing was changed)')
    expect(planned.out).toContain('keep    the logged commits that are not settled: 2')
    expect(planned.err).toContain('Make sure that no other copy is in use')
    const owner = (files: Map<string, string>): [string, string][] =>
      [...files].filter(([name]) => name !== 'owner')
    expect(owner(await bytesOf(directory))).toEqual(owner(before))
    await expect(openLog()).rejects.toMatchObject({ code: 'LOG_COPIED' })

    expect((await run('log', 'adopt', '--apply')).code).toBe(EXIT.clean)
    const log = await openLog()
    expect(log.pending().map(({ record }) => record.gtrid)).toEqual(pending)
    expect(log.standing({ epoch: 1, nonce: '00000000' })).toBe('forgotten')
  })

  it('names the branches that become orphans, which recovery leaves alone afterwards', async () => {
    const [decided = ''] = await makeLog()
    const undecided = decided.replace(/-[^-]+$/, '-zz')
    for (const gtrid of [decided, undecided]) {
      ledger.prepared.set(`${gtrid}:ledger`, { gtrid, bqual: 'ledger' })
    }
    const planned = await run('log', 'adopt')
    expect(planned.code).toBe(EXIT.unsettled)
    const listed = planned.out.slice(planned.out.indexOf('Orphans, for an operator to end:'))
    expect(listed).toContain('-zz  ledger')
    expect(listed).not.toContain(decided.split('-').slice(2).join('-'))
    expect((await run('log', 'adopt', '--apply')).out).toContain('-zz  ledger')
    const { out } = await run('list')
    expect(out).toMatch(/ledger +orphan +\S+-zz:ledger/)
  })

  it('is 5 when a database cannot say what becomes an orphan', async () => {
    await makeLog()
    ledger.script.unreachable = true
    const { code, out, err } = await run('log', 'adopt')
    expect([code, err.includes('ledger')]).toEqual([EXIT.unreachable, true])
    expect(out).not.toContain('No database lists')
  })

  it('warns of an original that went on, for that is seen at every later start, too', async () => {
    const [decided = ''] = await makeLog()
    const later = decided.replace(/-\w+\.(\w+)-\w+$/, '-7.$1-1')
    ledger.prepared.set(`${later}:ledger`, { gtrid: later, bqual: 'ledger' })
    const { code, out } = await run('log', 'adopt')
    expect(code).toBe(EXIT.corrupt)
    expect(out).toContain('The original went on after this copy was made')
    expect((await run('log', 'adopt', '--apply')).code).toBe(EXIT.corrupt)
    expect((await run('list')).code).toBe(EXIT.corrupt)
  })

  it('keeps a copy of a torn tail', async () => {
    await makeLog()
    const last = (await batches()).at(-1)
    await damage(last?.file ?? '', (last?.offset ?? 0) + 2 * PAGE)
    expect((await run('log', 'adopt', '--apply')).err).toContain('a write that a crash cut short')
    expect((await verdict()).files.map(({ role }) => role)).toContain('cut')
  })
})

describe('where the log is', () => {
  it('is told by --log, and no configuration is needed', async () => {
    await makeLog()
    await rm(join(folder, 'unanimous.config.mjs'))
    const { code, out } = await run('log', 'verify', '--log', 'decisions')
    expect([code, out.includes('Sound.')]).toEqual([EXIT.clean, true])
    expect((await run('log', 'dump', '--log', directory)).code).toBe(EXIT.clean)
    const adopt = await run('log', 'adopt', '--log', 'decisions')
    expect([adopt.code, adopt.err.includes('--config')]).toEqual([EXIT.unsettled, true])
  })

  it('is told by --log with the databases of --config', async () => {
    const [decided = ''] = await makeLog()
    await configure('elsewhere')
    const gtrid = decided.replace(/-[^-]+$/, '-zz')
    ledger.prepared.set(`${gtrid}:ledger`, { gtrid, bqual: 'ledger' })
    const both = ['--log', 'decisions', '--config', 'unanimous.config.mjs']
    expect((await run('log', 'verify', ...both)).code).toBe(EXIT.clean)
    expect((await run('log', 'adopt', ...both)).out).toContain('-zz  ledger')
  })

  it.each(['verify', 'dump', 'compact', 'adopt'])('%s says how to tell it', async (name) => {
    await rm(join(folder, 'unanimous.config.mjs'))
    const { code, out, err } = await run('log', name)
    expect([code, out]).toEqual([EXIT.usage, ''])
    expect(err).toContain('--log DIR')
  })

  it.each([['verify'], ['dump'], ['compact'], ['adopt'], ['adopt', '--apply']])(
    '%s %s of a directory without a log is 2, and makes none',
    async (...args) => {
      expect((await run('log', ...args)).code).toBe(EXIT.usage)
      expect(await readdir(folder)).toEqual(['unanimous.config.mjs'])
    },
  )
})
