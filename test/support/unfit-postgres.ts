/** A PostgreSQL as it comes out of the box: with max_prepared_transactions = 0. */
import { pgSession } from '../contract/pg-harness.ts'
import { startPostgres } from './servers/index.ts'

export interface UnfitPostgres {
  readonly url: string
  /** Does what the refusal says. */
  mend(): Promise<void>
  stop(): Promise<void>
}

export async function startUnfitPostgres(): Promise<UnfitPostgres> {
  const server = await startPostgres({}, { settings: [] })
  return {
    url: server.url,
    async mend() {
      const session = await pgSession(server.url)
      await session.run('ALTER SYSTEM SET max_prepared_transactions = 100')
      session.close()
      await server.kill()
      await server.restart()
    },
    stop: () => server.stop(),
  }
}
