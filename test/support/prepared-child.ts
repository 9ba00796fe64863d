/**
 * A process that brings ten transactions, one after the other, to a durable decision and no further,
 * and dies at the last: ten branches in each database are prepared, and will be committed.
 *
 * It says `{ id, gtrid }` of each on a line of its own.
 */
import { writeSync } from 'node:fs'
import { createPool } from 'mysql2/promise'
import { Pool } from 'pg'
import { Coordinator } from 'unanimous'
import { mysql } from 'unanimous/mysql2'
import { postgres } from 'unanimous/pg'

const COUNT = 10
const { LEDGER_URL = '', SHOP_URL = '', LOG = '' } = process.env
let decided: () => void = () => undefined

const coordinator = await Coordinator.open({
  log: LOG,
  participants: {
    ledger: postgres(new Pool({ connectionString: LEDGER_URL, max: COUNT })),
    shop: mysql(createPool({ uri: SHOP_URL, connectionLimit: COUNT })),
  },
  seams: {
    failpoints(name) {
      if (name !== 'decide:after') return undefined
      decided()
      return new Promise(() => undefined)
    },
  },
})

function begin(id: number): Promise<string> {
  return new Promise((resolve, reject) => {
    coordinator
      .transaction(async (tx) => {
        await tx.ledger.query('INSERT INTO entry VALUES ($1)', [id])
        await tx.shop.query('INSERT INTO entry VALUES (?)', [id])
        decided = () => resolve(tx.gtrid)
      })
      .catch(reject)
  })
}

for (let id = 0; id < COUNT; id += 1) {
  const gtrid = await begin(id)
  writeSync(1, `${JSON.stringify({ id, gtrid })}\n`)
}
process.kill(process.pid, 'SIGKILL')
