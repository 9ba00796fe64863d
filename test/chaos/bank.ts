/**
 * The bank of the chaos run: the same tables in every database, in any number of them. A transfer moves
 * money between places of two or three databases, its amounts add up to nothing, and it leaves its id
 * in every database that it touches. Which ones, the id says: `<run>-<n>-02` is of databases 0 and 2.
 */
import { createConnection } from 'mysql2/promise'
import pg from 'pg'

export type Kind = 'postgres' | 'mysql'

export interface Database {
  /** Of the participant. */
  readonly name: string
  readonly kind: Kind
  readonly url: string
}

export const PLACES = 40
export const START_BALANCE = 1_000_000

/** One statement, in a session of its own. */
export async function ask(
  { kind, url }: Pick<Database, 'kind' | 'url'>,
  ...statements: readonly string[]
): Promise<readonly Readonly<Record<string, unknown>>[]> {
  let rows: readonly Readonly<Record<string, unknown>>[] = []
  if (kind === 'postgres') {
    const client = new pg.Client({ connectionString: url })
    client.on('error', () => undefined)
    await client.connect()
    try {
      for (const text of statements) rows = (await client.query<Record<string, unknown>>(text)).rows
    } finally {
      await client.end()
    }
    return rows
  }
  const connection = await createConnection(url)
  try {
    for (const text of statements) {
      const [answer]: readonly unknown[] = await connection.query(text)
      if (Array.isArray(answer)) rows = answer as typeof rows
    }
  } finally {
    await connection.end()
  }
  return rows
}

export async function createTables(database: Database): Promise<void> {
  const places = Array.from({ length: PLACES }, (_, at) => `(${at + 1}, ${START_BALANCE})`)
  const id = database.kind === 'postgres' ? 'varchar(64)' : 'varchar(64) character set ascii'
  await ask(
    database,
    'create table place (id integer primary key, balance bigint not null)',
    `create table entry (id ${id} primary key, amount bigint not null)`,
    `insert into place values ${places.join(', ')}`,
  )
}

/** Which databases the id names. */
export function touched(id: string): readonly number[] {
  const digits = id.slice(id.lastIndexOf('-') + 1)
  return digits.split('').map(Number)
}

/** What one database holds. */
export interface Ledger {
  readonly money: number
  readonly moved: number
  readonly ids: ReadonlySet<string>
}

export async function readLedger(database: Database): Promise<Ledger> {
  const [sums] = await ask(database, 'select sum(balance) as money from place')
  const entries = await ask(database, 'select id, amount from entry')
  return {
    money: Number(sums?.['money']),
    moved: entries.reduce((sum, { amount }) => sum + Number(amount), 0),
    ids: new Set(entries.map(({ id }) => String(id))),
  }
}

/** Branches of the log that are prepared in the database, as text. */
export async function prepared(database: Database, logId: string): Promise<readonly string[]> {
  const text =
    database.kind === 'postgres'
      ? 'select gid as data from pg_prepared_xacts where database = current_database()'
      : 'xa recover'
  const rows = await ask(database, text)
  return rows.map(({ data }) => String(data)).filter((id) => id.includes(`una1-${logId}-`))
}

/** Takes every row's lock, waiting for none. @throws the server's refusal */
export async function lockAll(database: Database): Promise<void> {
  for (const table of ['place', 'entry']) {
    await ask(database, `select id from ${table} for update nowait`)
  }
}

/** Marker rows of the log that nobody has collected. */
export async function markerRows(database: Database, logId: string): Promise<number> {
  const where = `gtrid like 'una1-${logId}-%' and state = 'committed'`
  const [row] = await ask(database, `select count(*) as n from unanimous_branch where ${where}`)
  return Number(row?.['n'])
}
