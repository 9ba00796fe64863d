/** A PostgreSQL as it comes out of the box: with max_prepared_transactions = 0. */
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { embedded } from './servers/embedded.ts'
import { identify } from './servers/probe.ts'

export interface UnfitPostgres {
  readonly url: string
  /** Restarts it with the settings that two-phase commit needs. */
  mend(): Promise<void>
  stop(): Promise<void>
}

/** Starts the server of the npm package, whose process is ours, again with one setting changed. */
export async function startUnfitPostgres(): Promise<UnfitPostgres> {
  const server = await embedded.start({ flavours: ['postgres'] }, () => undefined)
  const client = new pg.Client({ connectionString: server.url })
  client.on('error', () => undefined)
  await client.connect()
  const { rows } = await client.query<{ data_directory: string }>('show data_directory')
  await client.end()
  const data = rows[0]?.data_directory ?? ''
  const pid = readFileSync(join(data, 'postmaster.pid'), 'utf8').split('\n')[0] ?? ''
  const words = execFileSync('ps', ['-ww', '-o', 'args=', '-p', pid], { encoding: 'utf8' })
  const [program = '', ...options] = words.trim().split(/\s+/)
  await server.kill()
  const { uid, gid } = statSync(data)
  // The last of several settings counts.
  const child = spawn(program, [...options, '-c', 'max_prepared_transactions=0'], {
    cwd: data,
    stdio: 'ignore',
    ...(process.getuid?.() === 0 ? { uid, gid } : {}),
  })
  const ended = once(child, 'exit')
  while (
    await identify(server.url).then(
      () => false,
      () => true,
    )
  )
    await sleep(25)
  const end = async (): Promise<void> => {
    child.kill('SIGINT')
    await ended
  }
  return {
    url: server.url,
    async mend() {
      await end()
      await server.restart()
    },
    async stop() {
      if (child.exitCode === null) await end()
      await server.stop()
    },
  }
}
