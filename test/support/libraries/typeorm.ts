import { DataSource, type EntityManager, EntitySchema } from 'typeorm'
import { typeormOver } from 'unanimous/typeorm'
import type { Database, Isolation, Library, Pools, Statements } from './library.ts'

const Item = new EntitySchema<{ id: number; v: number }>({
  name: 'item',
  columns: { id: { type: 'int', primary: true }, v: { type: 'int' } },
})
const Many = new EntitySchema<{ v: number; t: string }>({
  name: 'many',
  columns: { v: { type: 'int', primary: true }, t: { type: 'text' } },
})

export async function typeormLibrary(
  database: Database,
  pools: Pools,
  type: 'mysql' | 'mariadb',
): Promise<Library> {
  const make = (): Promise<DataSource> =>
    new DataSource({
      type: database === 'ledger' ? 'postgres' : type,
      driver: typeormOver(pools[database]),
      entities: [Item, Many],
    }).initialize()
  const db = await make()
  return {
    ...statements(db.manager),
    name: 'TypeORM',
    database,
    nested: (work, isolation) => {
      const run = (manager: EntityManager) =>
        work({
          ...statements(manager),
          deeper: (inner) => manager.transaction((deep) => inner(statements(deep))),
        })
      return isolation === undefined
        ? db.transaction(run)
        : db.transaction(isolation.toUpperCase() as Uppercase<Isolation>, run)
    },
    async hold() {
      const runner = db.createQueryRunner()
      await runner.startTransaction()
      return {
        ...statements(runner.manager),
        async commit() {
          await runner.commitTransaction()
          await runner.release()
        },
        async rollback() {
          await runner.rollbackTransaction()
          await runner.release()
        },
      }
    },
    stream: () => db.createQueryBuilder().select().from(Many, 'many').stream(),
    async useAndClose() {
      const another = await make()
      await another.query('select 1')
      await another.destroy()
    },
    close: () => db.destroy(),
  }
}

function statements(manager: EntityManager): Statements {
  return {
    insert: (id) => manager.insert(Item, { id, v: 1 }),
    run: (text) => manager.query(text),
  }
}
