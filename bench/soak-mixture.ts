/**
 * What the soak runs: transfers that commit, throw, are refused, time out, are aborted, read only, swallow
 * an error or leave a statement running, in a random mixture that a seed repeats.
 */
import type { ResultSetHeader } from 'mysql2/promise'
import { type Coordinator, TransactionError } from 'unanimous'
import type { mysql } from 'unanimous/mysql2'
import type { postgres } from 'unanimous/pg'
import { PLACES, START_BALANCE } from '../examples/transfer/schema.ts'

export type Bank = Coordinator<{
  accounts: ReturnType<typeof postgres>
  wallets: ReturnType<typeof mysql>
}>
export type Kind = (typeof MIXTURE)[number][1]

/** Shares of a hundred. */
const MIXTURE = [
  [46, 'transfer'],
  [6, 'backwards'],
  [8, 'throws'],
  [7, 'refused'],
  [10, 'deadline'],
  [10, 'signal'],
  [4, 'alone'],
  [3, 'reads'],
  [3, 'swallows'],
  [3, 'leaves'],
] as const

export interface Order {
  readonly id: string
  readonly kind: Kind
  readonly random: () => number
  readonly signal: AbortSignal
}

export interface Heard {
  readonly word: string
  readonly answer: 'committed' | 'rolled-back' | 'open'
}

export async function one(bank: Bank, { id, kind, random, signal }: Order): Promise<Heard> {
  const place = 1 + Math.floor(random() * PLACES)
  const amount = kind === 'refused' ? 10 * START_BALANCE : 1 + Math.floor(random() * 5)
  const own = new AbortController()
  const timer = kind === 'signal' ? setTimeout(() => own.abort(), random() * 25) : undefined
  try {
    await bank.transaction(
      async (tx) => {
        if (kind === 'reads') {
          await tx.accounts.query('select balance from account where id = $1', [place])
          return
        }
        const pay = async (): Promise<void> => {
          await tx.accounts.query(
            'insert into transfer (id, account, amount) values ($1, $2, $3)',
            [id, place, amount],
          )
          await tx.accounts.query('update account set balance = balance - $1 where id = $2', [
            amount,
            place,
          ])
        }
        const earn = async (): Promise<void> => {
          await tx.wallets.query('insert into transfer (id, wallet, amount) values (?, ?, ?)', [
            id,
            place,
            amount,
          ])
          await tx.wallets.query<ResultSetHeader>(
            'update wallet set balance = balance + ? where id = ?',
            [amount, place],
          )
        }
        if (kind === 'alone') {
          await tx.wallets.query('update wallet set balance = balance where id = ?', [place])
          return
        }
        if (kind === 'backwards') {
          await earn()
          await pay()
          return
        }
        await pay()
        if (kind === 'deadline' && random() < 0.5) await tx.accounts.query('select pg_sleep(0.05)')
        if (kind === 'swallows') await tx.accounts.query('select 1/0').catch(() => undefined)
        await earn()
        if (kind === 'signal' && random() < 0.5) await tx.wallets.query('select sleep(0.05)')
        if (kind === 'throws') throw new Error('changed my mind')
        if (kind === 'leaves') tx.wallets.query('select sleep(0.02)').catch(() => undefined)
      },
      {
        signal: kind === 'signal' ? own.signal : signal,
        timeoutMs: kind === 'deadline' ? 1 + Math.floor(random() * 25) : 20_000,
        retry: { attempts: kind === 'transfer' ? 4 : 1, minDelayMs: 5, maxDelayMs: 50 },
      },
    )
    return { word: 'committed', answer: hasRows(kind) ? 'committed' : 'rolled-back' }
  } catch (cause) {
    if (!(cause instanceof TransactionError)) throw cause
    const answer = cause.outcome === 'rolled-back' ? 'rolled-back' : 'open'
    return { word: `${cause.code} (${cause.outcome})`, answer }
  } finally {
    clearTimeout(timer)
  }
}

function hasRows(kind: Kind): boolean {
  return kind !== 'reads' && kind !== 'alone'
}

export function pick(random: () => number): Kind {
  let left = random() * 100
  for (const [share, kind] of MIXTURE) {
    left -= share
    if (left < 0) return kind
  }
  return 'transfer'
}

/** Mulberry32. */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
