/** Creates the tables of the example in two empty databases. */
import { openPools } from './environment.ts'
import { createSchema } from './schema.ts'

const pools = openPools()
try {
  await createSchema(pools.accounts, pools.wallets)
} finally {
  await pools.close()
}
