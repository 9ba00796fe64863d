/**
 * Where the databases and the decision log are: from the environment, else as docker/compose.yaml
 * sets them up.
 */
import mysql from 'mysql2/promise'
import pg from 'pg'

/** PostgreSQL's URL. */
export const ACCOUNTS_URL = 'ACCOUNTS_URL'
/** MySQL's or MariaDB's URL. */
export const WALLETS_URL = 'WALLETS_URL'
/** Directory of the decision log. */
export const DECISIONS = 'DECISIONS'

const DEFAULTS: Readonly<Record<string, string>> = {
  [ACCOUNTS_URL]: 'postgres://app:app@127.0.0.1:25432/bank',
  [WALLETS_URL]: 'mysql://app:app@127.0.0.1:23306/bank',
  [DECISIONS]: './decisions',
}

/** More transfers at a time than this wait for a connection. */
export const CONNECTIONS = 20

export function setting(name: string): string {
  return process.env[name] || DEFAULTS[name] || ''
}

export interface Pools {
  readonly accounts: pg.Pool
  readonly wallets: mysql.Pool
  close(): Promise<void>
}

export function openPools(
  accountsUrl: string = setting(ACCOUNTS_URL),
  walletsUrl: string = setting(WALLETS_URL),
): Pools {
  const accounts = new pg.Pool({ connectionString: accountsUrl, max: CONNECTIONS })
  // A pool without a listener ends the process when an idle connection dies.
  accounts.on('error', () => undefined)
  const wallets = mysql.createPool({ uri: walletsUrl, connectionLimit: CONNECTIONS })
  return {
    accounts,
    wallets,
    async close() {
      await Promise.all([accounts.end(), wallets.end()])
    },
  }
}
