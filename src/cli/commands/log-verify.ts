/**
 * `unanimous log verify`: reads every byte of the log, without its lock, and says what is there.
 *
 * Where the log is damaged it says what lies before the damage and what lies behind it: the second
 * is what nobody may act on, and what is missing in between.
 */
import { LogCorruptError } from '../../errors.ts'
import type { LogOwner } from '../../log/decision-log.ts'
import { readOwner } from '../../log/log-lock.ts'
import { nodeFileSystem } from '../../log/node-file-system.ts'
import { batchesBehind, dumpLog, type LogReport, verifyLog } from '../../log/read-log.ts'
import { NEXT_NAME, SPARE_NAME, segmentNumber } from '../../log/segment-store.ts'
import { EXIT, type ExitCode } from '../exit-codes.ts'
import { type Io, messageLines } from '../io.ts'
import { json, ownerJson } from '../json.ts'
import { type LogCommandOptions, locateLog } from '../log-access.ts'
import { holderOf, table } from '../print.ts'

export interface LogVerifyOptions extends LogCommandOptions {
  readonly json?: boolean
}

export async function logVerify(io: Io, options: LogVerifyOptions): Promise<ExitCode> {
  const { directory } = await locateLog(io, options)
  const findings = await examine(directory)
  const files = await list(directory, findings)
  if (options.json === true) io.out(json(io.clock.now(), verdictJson(directory, findings, files)))
  else print(io, directory, findings, files)
  if (findings.damage !== undefined) return EXIT.corrupt
  return findings.report.repairable.length > 0 ? EXIT.unsettled : EXIT.clean
}

type Findings =
  | { readonly owner: LogOwner | undefined; readonly report: LogReport; readonly damage?: never }
  | { readonly owner: LogOwner | undefined; readonly damage: Damage }

interface Damage {
  readonly error: LogCorruptError
  /** Whole batches before it. */
  readonly before: number
  /** Numbers of those that are whole behind it. */
  readonly behind: readonly number[]
}

async function examine(directory: string): Promise<Findings> {
  try {
    const report = await verifyLog(directory, nodeFileSystem)
    return { owner: await readOwner(directory, nodeFileSystem), report }
  } catch (cause) {
    if (!(cause instanceof LogCorruptError)) throw cause
    const damage = { error: cause, before: await countBefore(directory), behind: [] }
    const owner = await readOwner(directory, nodeFileSystem)
    return { owner, damage: { ...damage, behind: await batchesBehind(cause, nodeFileSystem) } }
  }
}

async function countBefore(directory: string): Promise<number> {
  let count = 0
  try {
    for await (const _ of dumpLog(directory, nodeFileSystem)) count += 1
  } catch (cause) {
    if (!(cause instanceof LogCorruptError)) throw cause
  }
  return count
}

interface ListedFile {
  readonly name: string
  readonly bytes: number
  readonly role: 'active' | 'older' | 'spare' | 'next' | 'cut' | 'other'
  readonly what: string
}

const WHAT: Readonly<Record<Exclude<ListedFile['role'], 'active'>, string>> = {
  older: 'an older segment: nothing needs it any more',
  spare: 'the next segment, blank or being made so',
  next: 'the first segment of a log that was never finished',
  cut: 'kept: what a crash left of a write that was never acknowledged',
  other: 'not of the log',
}

/** What names the lock and its owner, and where the owner listens, is not data. */
const NO_DATA: readonly string[] = ['lock', 'owner', 'live']

async function list(directory: string, findings: Findings): Promise<readonly ListedFile[]> {
  const names = (await nodeFileSystem.list(directory)).toSorted()
  const newest = names.findLast((name) => segmentNumber(name) !== undefined)
  const files: ListedFile[] = []
  for (const name of names.filter((each) => !NO_DATA.includes(each))) {
    const stat = await nodeFileSystem.stat(`${directory}/${name}`)
    // A running log renames its files.
    if (stat === undefined) continue
    const role = name === newest ? 'active' : roleOf(name)
    const what = role === 'active' ? activeLine(findings) : WHAT[role]
    files.push({ name, bytes: stat.size, role, what })
  }
  return files
}

function roleOf(name: string): Exclude<ListedFile['role'], 'active'> {
  if (segmentNumber(name) !== undefined) return 'older'
  if (name === SPARE_NAME) return 'spare'
  if (name === NEXT_NAME) return 'next'
  return /\.cut-\d+$/.test(name) ? 'cut' : 'other'
}

function activeLine(findings: Findings): string {
  if (findings.damage !== undefined) {
    const { before, error } = findings.damage
    return `active, damaged at offset ${error.offset}: ${count(before, 'whole batch')} before it`
  }
  const { batches, records, pending, end } = findings.report
  const decisions = `${count(pending, 'commit')} not settled`
  return `active: ${count(batches, 'batch')}, ${count(records, 'record')}, ${decisions}, next at offset ${end}`
}

function count(number: number, word: string): string {
  if (number === 1) return `1 ${word}`
  return `${number} ${word}${word.endsWith('h') ? 'es' : 's'}`
}

function print(io: Io, directory: string, findings: Findings, files: readonly ListedFile[]): void {
  const { owner, damage } = findings
  const id = damage === undefined ? `una1-${findings.report.logId}  ` : ''
  io.out(`log ${directory}  ${id}${holderOf(owner)}\n`)
  const head = ['FILE', 'BYTES', 'WHAT'].map((title) => io.paint('bold', title))
  io.out(table([head, ...files.map(({ name, bytes, what }) => [name, String(bytes), what])]))
  if (damage !== undefined) {
    const { error, behind } = damage
    io.out(`${io.paint('red', 'Damaged')}: ${error.message}. ${behindLine(behind)}\n`)
    io.err(messageLines(`error: ${error.message}`, AFTER_DAMAGE))
    return
  }
  const { file, repairable, torn } = findings.report
  if (torn !== undefined) {
    const origin = owner === undefined ? 'left by a crash' : 'a write under way, or left by a crash'
    const extent = `${torn.bytes} bytes at offset ${torn.offset}`
    io.out(`Torn tail: ${extent}, ${origin}. It was never acknowledged; nothing is lost.\n`)
  }
  for (const offset of repairable) {
    io.out(`${io.paint('yellow', 'Repairable')}: ${file} at offset ${offset}; its copy is sound.\n`)
  }
  if (repairable.length === 0) io.out(`${io.paint('green', 'Sound.')}\n`)
  else io.err('The next start of the application repairs it, or `unanimous log compact` does.\n')
}

const AFTER_DAMAGE =
  'Keep the directory as it is, and restore the file from the same disk. `unanimous log dump` shows what lies before the damage; without the log, `unanimous recover --from-databases` settles by marker rows.'

function behindLine(behind: readonly number[]): string {
  const [first, last] = [behind[0], behind.at(-1)]
  if (first === undefined || last === undefined) return 'No whole batch lies behind it.'
  if (behind.length === 1) return `Batch ${first} behind it is whole, and cannot be relied on.`
  return `${behind.length} batches behind it, ${first} to ${last}, are whole, and cannot be relied on.`
}

function verdictJson(directory: string, findings: Findings, files: readonly ListedFile[]): object {
  const { owner, damage } = findings
  const report = damage === undefined ? findings.report : undefined
  return {
    log: { directory, logId: report?.logId ?? null, owner: ownerJson(owner) },
    files: files.map(({ name, bytes, role }) => ({ name, bytes, role })),
    batches: report?.batches ?? damage?.before ?? null,
    records: report?.records ?? null,
    pending: report?.pending ?? null,
    end: report?.end ?? null,
    repairable: report?.repairable ?? [],
    torn: report?.torn ?? null,
    damage: damage === undefined ? null : damageJson(damage),
  }
}

function damageJson({ error, behind }: Damage): object {
  return { file: error.file, offset: error.offset, message: error.message, behind }
}
