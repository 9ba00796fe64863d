/** PgBouncer in transaction mode before a PostgreSQL, from its Debian package. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chownSync, mkdtempSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { canReach, serverAccount } from './account.ts'
import { guard } from './guard.ts'
import { UNPACKED_ENV, unpacked, unpackedCommand } from './packages.ts'
import { freePort } from './port.ts'
import { identify } from './probe.ts'
import { tail } from './run.ts'
import type { Report } from './server.ts'

export interface PgBouncer {
  /** Leads through it to the same database, as the same role. */
  readonly url: string
  stop(): Promise<void>
}

const WISH = { key: 'pgbouncer', title: 'PgBouncer', names: /^pgbouncer$/ }
const READY_LIMIT_MS = 10_000
/** Its connections to the server, for any number of clients. */
export const BOUNCER_POOL_SIZE = 4

export async function startPgBouncer(url: string, report: Report): Promise<PgBouncer> {
  const root = await unpacked(WISH, report)
  const account = await serverAccount()
  const parent = [tmpdir(), '/tmp', '/var/tmp'].find((path) => canReach(path, account))
  const folder = mkdtempSync(join(parent ?? tmpdir(), 'unanimous-'))
  const guarded = guard({ folder })
  const port = await freePort()
  const files = configuration(folder, new URL(url), port)
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text)
  if (account !== undefined) {
    for (const path of [folder, ...Object.keys(files).map((name) => join(folder, name))]) {
      chownSync(path, account.uid, account.gid)
    }
  }
  const [file = '', ...args] = unpackedCommand(root, 'usr/sbin/pgbouncer')
  const log = openSync(join(folder, 'log'), 'a')
  const child = spawn(file, [...args, join(folder, 'ini')], {
    cwd: folder,
    detached: true,
    env: { ...process.env, ...UNPACKED_ENV },
    stdio: ['ignore', log, log],
    ...account,
  })
  const ended = once(child, 'exit')
  child.unref()
  guarded.update({ folder, pid: child.pid ?? 0 })
  const through = new URL(url)
  through.host = `127.0.0.1:${port}`
  const deadline = Date.now() + READY_LIMIT_MS
  while (!(await identify(through.href).catch(() => undefined))) {
    if (child.exitCode !== null || Date.now() > deadline) {
      const words = tail(readFileSync(join(folder, 'log'), 'utf8'))
      await guarded.dispose()
      throw new Error(`PgBouncer did not start:\n${words}`)
    }
    await sleep(25)
  }
  return {
    url: through.href,
    async stop() {
      child.ref()
      await guarded.dispose()
      await ended
    },
  }
}

function configuration(folder: string, server: URL, port: number): Record<string, string> {
  const ini = [
    '[databases]',
    `* = host=${server.hostname} port=${server.port}`,
    '[pgbouncer]',
    'listen_addr = 127.0.0.1',
    `listen_port = ${port}`,
    'unix_socket_dir =',
    'auth_type = trust',
    `auth_file = ${join(folder, 'users')}`,
    'pool_mode = transaction',
    `default_pool_size = ${BOUNCER_POOL_SIZE}`,
    '',
  ].join('\n')
  const users = `"${server.username}" "${decodeURIComponent(server.password)}"\n`
  return { ini, users }
}
