/** After the chaos: what must be true of the databases, of the answers, and of both together. */
import {
  type Database,
  type Ledger,
  lockAll,
  markerRows,
  PLACES,
  prepared,
  readLedger,
  START_BALANCE,
  touched,
} from './bank.ts'
import type { Heard } from './supervisor.ts'

export interface Evidence {
  readonly databases: readonly Database[]
  readonly answers: readonly Heard[]
  readonly logId: string
}

/** What the databases hold, as text, to be compared after another recovery. */
export async function snapshot(databases: readonly Database[]): Promise<string> {
  const ledgers = await Promise.all(databases.map(readLedger))
  return JSON.stringify(ledgers.map(({ money, moved, ids }) => [money, moved, [...ids].toSorted()]))
}

/** Answers each violation, in words. */
export async function violations({ databases, answers, logId }: Evidence): Promise<string[]> {
  const found: string[] = []
  const ledgers = await Promise.all(databases.map(readLedger))
  found.push(...money(databases, ledgers))
  const everywhere = new Set(ledgers.flatMap(({ ids }) => [...ids]))
  for (const id of everywhere) {
    const there = ledgers.flatMap(({ ids }, at) => (ids.has(id) ? [at] : []))
    if (there.join('') !== touched(id).join('')) found.push(`${id} is in ${there.join(', ')} only`)
  }
  for (const { id, answer, code } of answers) {
    if (answer === 'committed' && !everywhere.has(id)) found.push(`${id} heard committed: nowhere`)
    if (answer === 'rolled-back' && everywhere.has(id)) {
      found.push(`${id} heard rolled-back (${code}): it is there`)
    }
    if (answer === 'heuristic') found.push(`${id} heard heuristic (${code})`)
  }
  for (const database of databases) {
    const { name } = database
    for (const id of await prepared(database, logId)) found.push(`${name}: ${id} is prepared`)
    await lockAll(database).catch((cause: unknown) =>
      found.push(`${name}: locked: ${String(cause)}`),
    )
    const rows = await markerRows(database, logId)
    if (rows > 0) found.push(`${name}: ${rows} marker rows are left`)
  }
  return found
}

function money(databases: readonly Database[], ledgers: readonly Ledger[]): string[] {
  const found: string[] = []
  const start = PLACES * START_BALANCE
  for (const [at, { money: now, moved }] of ledgers.entries()) {
    if (now - start !== moved) {
      found.push(`${databases[at]?.name}: ${now - start} moved, and its entries say ${moved}`)
    }
  }
  const sum = ledgers.reduce((total, { money: now }) => total + now, 0)
  if (sum !== start * databases.length) {
    found.push(`the sum of all money is ${sum}, not ${start * databases.length}`)
  }
  return found
}
