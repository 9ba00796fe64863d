/** A participant for a database of the chaos run, by its kind. */
import mysqlDriver from 'mysql2/promise'
import pg from 'pg'
import type { ParticipantDefinition } from 'unanimous/adapter'
import { mysql } from 'unanimous/mysql2'
import { postgres } from 'unanimous/pg'
import type { Database } from './bank.ts'

/** What both handles have in common. */
export interface Handle {
  query(text: string): Promise<unknown>
}

const CONNECTIONS = 20
const ANSWER_MS = 1_500

export interface Opened {
  readonly definition: ParticipantDefinition<Handle>
  close(): Promise<void>
}

export function openParticipant({ kind, url }: Database): Opened {
  if (kind === 'postgres') {
    const pool = new pg.Pool({ connectionString: url, max: CONNECTIONS })
    pool.on('error', () => undefined)
    const definition = postgres(pool, { answerMs: ANSWER_MS }) as ParticipantDefinition<Handle>
    return { definition, close: () => pool.end() }
  }
  const pool = mysqlDriver.createPool({ uri: url, connectionLimit: CONNECTIONS })
  const definition = mysql(pool, { answerMs: ANSWER_MS }) as ParticipantDefinition<Handle>
  return { definition, close: () => pool.end() }
}
