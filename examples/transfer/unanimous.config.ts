/** What the command line needs: the same log and the same participants as the service. */
import { DECISIONS, openPools, setting } from './environment.ts'
import { participants } from './transfer.ts'

const pools = openPools()

export default {
  log: setting(DECISIONS),
  participants: participants(pools.accounts, pools.wallets),
  close: () => pools.close(),
}
