import makeKnex, { type Knex } from 'knex'
import { knexOver } from 'unanimous/knex'
import type { Database, Library, Pools, Statements } from './library.ts'

export function knexLibrary(database: Database, pools: Pools): Library {
  const make = (): Knex =>
    makeKnex({
      client: database === 'ledger' ? 'pg' : 'mysql2',
      connectionPool: knexOver(pools[database]),
    })
  const db = make()
  return {
    ...statements(db),
    name: 'knex',
    database,
    nested: (work, isolation) =>
      db.transaction(
        (trx) =>
          work({
            ...statements(trx),
            deeper: (inner) => trx.transaction((deep) => inner(statements(deep))),
          }),
        isolation === undefined ? {} : { isolationLevel: isolation },
      ),
    async hold() {
      const trx = await db.transaction()
      return {
        ...statements(trx),
        async commit() {
          await trx.commit()
          // knex tells here that a COMMIT has failed, and nowhere else.
          await trx.executionPromise
        },
        rollback: () => trx.rollback(),
      }
    },
    stream: () => db('many').select().stream(),
    async useAndClose() {
      const another = make()
      await another.raw('select 1')
      await another.destroy()
    },
    close: () => db.destroy(),
  }
}

function statements(db: Knex): Statements {
  return {
    insert: (id) => db('item').insert({ id, v: 1 }).then(),
    run: (text) => db.raw(text).then(),
  }
}
