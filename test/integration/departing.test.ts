/**
 * A live transaction loses the connection of its MariaDB branch as it commits (T11): its session needs a
 * tenth of a second to end, and until then a commit from elsewhere would be answered, and not be done.
 */
import { createPool, type RowDataPacket } from 'mysql2/promise'
import pg from 'pg'
import { Coordinator } from 'unanimous'
import { wireProxy } from 'unanimous/contract'
import { mysql } from 'unanimous/mysql2'
import { postgres } from 'unanimous/pg'
import { expect, it, onTestFinished } from 'vitest'
import { takeLongToEnd } from '../contract/mysql-departures.ts'
import { testDatabases } from '../support/databases.ts'
import { testFolders } from '../support/folder.ts'

const db = await testDatabases()
const folder = testFolders()

it.each(['awaited', 'behind'] as const)(
  'T11: a commit whose connection is lost is done once its session has left (settled %s)',
  async (settle) => {
    const url = new URL(db.mysql.url)
    const proxy = await wireProxy(url.hostname, Number(url.port || 3306))
    url.host = `127.0.0.1:${proxy.port}`
    const ledger = new pg.Pool({ connectionString: db.postgres.url, max: 1 })
    const shop = createPool({ uri: url.href, connectionLimit: 1, multipleStatements: true })
    const direct = createPool({ uri: db.mysql.url, connectionLimit: 1 })
    await ledger.query('create table if not exists account (v int)')
    await direct.query('create table if not exists work (id int)')
    await direct.query('delete from work')
    const coordinator = await Coordinator.open({
      log: { directory: await folder(), allowUnsafeFileSystem: true },
      participants: { ledger: postgres(ledger), shop: mysql(shop) },
    })
    onTestFinished(async () => {
      await coordinator.close()
      await Promise.all([ledger.end(), shop.end(), direct.end(), proxy.close()])
    })
    await takeLongToEnd('work', (text) => shop.query(text))
    proxy.cut('XA COMMIT', 'before')
    const answers: unknown[] = []
    coordinator.on('branch:settled', ({ participant, answer, by }) => {
      answers.push([participant, answer, by])
    })
    await coordinator.transaction(
      async (tx) => {
        await tx.ledger.query('insert into account values (1)')
        await tx.shop.query('insert into work values (1)')
      },
      { settle },
    )
    await expect.poll(() => answers).toContainEqual(['shop', 'committed', 'recovery'])
    const [rows] = await direct.query<RowDataPacket[]>('select id from work')
    expect(rows).toEqual([{ id: 1 }])
  },
)
