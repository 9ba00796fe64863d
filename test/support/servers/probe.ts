/** Talks to a running server: does it answer, what is it, and give me a database of my own. */
import { createConnection } from 'mysql2/promise'
import { Client } from 'pg'
import type { Flavour } from './server.ts'
import { versionNumber } from './server.ts'

const CONNECT_TIMEOUT_MS = 5000

export interface Identity {
  readonly flavour: Flavour
  readonly version: string
}

/** Statements on a connection of their own. @returns the first value of the last one, as text. */
async function ask(url: string, ...statements: readonly string[]): Promise<string> {
  let value: unknown
  if (isPostgres(url)) {
    const client = new Client({
      connectionString: url,
      connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    })
    // A server that dies meanwhile would else end this process with an unhandled event.
    client.on('error', () => undefined)
    try {
      await client.connect()
      for (const text of statements) {
        const { rows } = await client.query<unknown[]>({ text, rowMode: 'array' })
        value = rows[0]?.[0]
      }
      return String(value)
    } finally {
      await client.end().catch(() => undefined)
    }
  }
  const connection = await createConnection({ uri: url, connectTimeout: CONNECT_TIMEOUT_MS })
  try {
    for (const sql of statements) {
      const [rows] = await connection.query({ sql, rowsAsArray: true })
      value = Array.isArray(rows) ? [rows[0]].flat()[0] : undefined
    }
    return String(value)
  } finally {
    connection.destroy()
  }
}

export async function identify(url: string): Promise<Identity> {
  if (isPostgres(url)) {
    return { flavour: 'postgres', version: versionNumber(await ask(url, 'SHOW server_version')) }
  }
  const text = await ask(url, 'SELECT VERSION()')
  return { flavour: /mariadb/i.test(text) ? 'mariadb' : 'mysql', version: versionNumber(text) }
}

/** @returns the URL of the new database. @throws if one of that name exists. */
export async function createDatabaseAt(url: string, name: string): Promise<string> {
  await ask(url, `CREATE DATABASE ${quoted(url, name)}`)
  const its = new URL(url)
  its.pathname = `/${encodeURIComponent(name)}`
  return its.href
}

/**
 * @param url a login to the server, to another database than the one to drop.
 * @throws when a prepared branch, or in the MySQL family an open transaction, still uses it.
 */
export async function dropDatabaseAt(url: string, name: string): Promise<void> {
  const drop = `DROP DATABASE IF EXISTS ${quoted(url, name)}`
  if (isPostgres(url)) await ask(url, `${drop} WITH (FORCE)`)
  // By default it would wait for a day (MariaDB) or a year (MySQL).
  else await ask(url, 'SET SESSION lock_wait_timeout = 5', drop)
}

function isPostgres(url: string): boolean {
  return url.startsWith('postgres')
}

function quoted(url: string, name: string): string {
  const quote = isPostgres(url) ? '"' : '`'
  return quote + name.replaceAll(quote, quote + quote) + quote
}
