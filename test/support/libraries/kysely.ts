import { Kysely, MysqlDialect, PostgresDialect, sql } from 'kysely'
import Cursor from 'pg-cursor'
import { kyselyOver } from 'unanimous/kysely'
import type { Database, Library, Pools, Statements } from './library.ts'

interface Tables {
  readonly item: { readonly id: number; readonly v: number }
  readonly many: { readonly v: number; readonly t: string }
}

export function kyselyLibrary(database: Database, pools: Pools): Library {
  const make = (): Kysely<Tables> =>
    new Kysely<Tables>({
      dialect:
        database === 'ledger'
          ? new PostgresDialect({ pool: kyselyOver(pools.ledger), cursor: Cursor })
          : new MysqlDialect({ pool: kyselyOver(pools.shop) }),
    })
  const db = make()
  return {
    ...statements(db),
    name: 'Kysely',
    database,
    async nested(work, isolation) {
      const plain = db.startTransaction()
      const trx = await (isolation === undefined
        ? plain
        : plain.setIsolationLevel(isolation)
      ).execute()
      try {
        const answer = await work({
          ...statements(trx),
          async deeper(inner) {
            const deep = await trx.savepoint('inner').execute()
            try {
              return await inner(statements(deep))
            } catch (cause) {
              await deep.rollbackToSavepoint('inner').execute()
              throw cause
            }
          },
        })
        await trx.commit().execute()
        return answer
      } catch (cause) {
        await trx.rollback().execute()
        throw cause
      }
    },
    async hold() {
      const trx = await db.startTransaction().execute()
      return {
        ...statements(trx),
        commit: () => trx.commit().execute(),
        rollback: () => trx.rollback().execute(),
      }
    },
    stream: () => db.selectFrom('many').selectAll().stream(10),
    async useAndClose() {
      const another = make()
      await another.selectFrom('item').selectAll().execute()
      await another.destroy()
    },
    close: () => db.destroy(),
  }
}

function statements(db: Kysely<Tables>): Statements {
  return {
    insert: (id) => db.insertInto('item').values({ id, v: 1 }).execute(),
    run: (text) => sql.raw(text).execute(db),
  }
}
