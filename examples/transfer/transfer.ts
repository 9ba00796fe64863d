/**
 * The service: moves money between an account in PostgreSQL and a wallet in MySQL or MariaDB.
 *
 *   - A transfer is known by its id, which the caller chose: asked for twice, it happens once. So a
 *     caller that heard `in-doubt`, or nothing at all, may simply ask again.
 *   - Rows are locked in one order, PostgreSQL's first, whichever way the money goes: transfers wait
 *     for each other and never in a circle.
 *   - A refusal that may not come again (a deadlock, a full pool) is tried again, a few times.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Pool as MysqlPool, ResultSetHeader } from 'mysql2/promise'
import type { Pool as PgPool } from 'pg'
import { Coordinator, type CoordinatorOptions, TransactionError } from 'unanimous'
import { mysql } from 'unanimous/mysql2'
import { postgres } from 'unanimous/pg'

/** Where money comes from or goes to. */
export type Place = { readonly account: number } | { readonly wallet: number }

export interface Transfer {
  /** Chosen by the caller, at most 64 ASCII characters. */
  readonly id: string
  /** One of the two is an account, the other a wallet. */
  readonly from: Place
  readonly to: Place
  /** Whole cents, more than 0. */
  readonly amount: number
}

export type Bank = ReturnType<typeof participants>
export type BankCoordinator = Coordinator<Bank>

/** The two databases, by the names that transactions, records and errors call them. */
export function participants(accounts: PgPool, wallets: MysqlPool) {
  return { accounts: postgres(accounts), wallets: mysql(wallets) }
}

export function openBank(
  accounts: PgPool,
  wallets: MysqlPool,
  options: Omit<CoordinatorOptions<Bank>, 'participants'>,
): Promise<BankCoordinator> {
  return Coordinator.open({ ...options, participants: participants(accounts, wallets) })
}

/** There is not enough money in the place it was to come from. */
export class InsufficientFunds extends Error {
  override readonly name = 'InsufficientFunds'
}

const MAX_ATTEMPTS = 5
const FIRST_PAUSE_MS = 10

/**
 * Moves the money.
 *
 * @returns `repeated` when a transfer of this id had been made before
 * @throws TransactionError as the transaction ended; `cause` is InsufficientFunds for lack of money
 */
export async function transfer(
  bank: BankCoordinator,
  order: Transfer,
): Promise<'done' | 'repeated'> {
  const { account, wallet, amount } = sidesOf(order)
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await bank.transaction(
        async (tx) => {
          const inserted = await tx.accounts.query(
            'insert into transfer (id, account, amount) values ($1, $2, $3) on conflict do nothing',
            [order.id, account, amount],
          )
          if (inserted.rowCount === 0) return 'repeated'
          const paid = await tx.accounts.query(
            'update account set balance = balance - $1 where id = $2 and balance >= $1',
            [amount, account],
          )
          if (paid.rowCount !== 1) throw new InsufficientFunds(`account ${account} is short`)
          await tx.wallets.query('insert into transfer (id, wallet, amount) values (?, ?, ?)', [
            order.id,
            wallet,
            amount,
          ])
          const [credited] = await tx.wallets.query<ResultSetHeader>(
            'update wallet set balance = balance + ? where id = ? and balance + ? >= 0',
            [amount, wallet, amount],
          )
          if (credited.affectedRows !== 1) throw new InsufficientFunds(`wallet ${wallet} is short`)
          return 'done'
        },
        { name: 'transfer', meta: { transfer: order.id } },
      )
    } catch (cause) {
      const again = cause instanceof TransactionError && cause.retryable && attempt < MAX_ATTEMPTS
      if (!again) throw cause
      // Those who collided must not meet again at the same instant.
      await sleep(FIRST_PAUSE_MS * 2 ** attempt * Math.random())
    }
  }
}

/** The account, the wallet, and what moves from the one to the other; negative for the way back. */
function sidesOf({ from, to, amount }: Transfer) {
  if (!Number.isSafeInteger(amount) || amount <= 0) throw new RangeError(`no amount: ${amount}`)
  if ('account' in from && 'wallet' in to) {
    return { account: from.account, wallet: to.wallet, amount }
  }
  if ('wallet' in from && 'account' in to) {
    return { account: to.account, wallet: from.wallet, amount: -amount }
  }
  throw new RangeError('money moves between an account and a wallet')
}
