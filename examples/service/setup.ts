/** Creates the tables of the example. */
import { endPools, ledgerPool, shopPool } from './databases.ts'
import { createSchema } from './schema.ts'

try {
  await createSchema(ledgerPool, shopPool)
} finally {
  await endPools()
}
