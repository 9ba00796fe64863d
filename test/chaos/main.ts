/**
 * `npm run chaos`: a bank over two or three databases, 16 clients in a coordinator's process, and a
 * nemesis that kills, stops and cuts everything, the coordinator included.
 *
 *   --minutes 30                    how long (default 3)
 *   --servers postgres,mariadb      and mysql, each with :version if wished; two to nine of them
 *   --seed 7                        of the nemesis; drawn and printed by default
 *   --clients 16
 *
 * Afterwards everything works again, recovery settles what is left, and the databases are asked: see
 * check.ts. Prints transfers, answers, faults, recovered branches and violations; ends with
 * `N passed, N failed`, a case for each kind of fault and one for each violation.
 */
import { randomBytes, randomInt } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { wireProxy } from '../../adapters/contract/wire-proxy.ts'
import { randomFrom } from '../../examples/transfer/orders.ts'
import { systemClock } from '../../src/adapter.ts'
import { bundle } from '../crash/coordinator-process.ts'
import { type Server, startMysqlFamily, startPostgres } from '../support/servers/index.ts'
import { createDatabaseAt } from '../support/servers/probe.ts'
import { mysqlWish } from '../support/shared-servers.ts'
import { createTables, type Database, type Kind, prepared } from './bank.ts'
import { snapshot, violations } from './check.ts'
import { FAULTS, Nemesis, type Target } from './nemesis.ts'
import { openParticipant } from './participant.ts'
import { Supervisor } from './supervisor.ts'

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '3' },
    servers: { type: 'string', default: 'postgres,mariadb' },
    seed: { type: 'string', default: String(randomInt(1_000_000)) },
    clients: { type: 'string', default: '16' },
  },
})
/** How long recovery may take once everything works. */
const HEAL_MS = 60_000
const AFTER_MS = 3_000
const SHOWN = 20

interface Place {
  readonly kind: Kind
  readonly server: Server
  /** Past the proxy. */
  readonly direct: Database
  /** Through it. */
  readonly database: Database
  readonly target: Target
}

async function place(word: string, at: number, run: string): Promise<Place> {
  const report = (line: string): void => console.error(line)
  const [name = '', version] = word.split(':')
  const kind: Kind = name === 'postgres' ? 'postgres' : 'mysql'
  const server =
    kind === 'postgres'
      ? await startPostgres({ version }, { report })
      : await startMysqlFamily(mysqlWish(word), { report })
  const url = await createDatabaseAt(server.url, `chaos_${run}`)
  const direct: Database = { name: `bank${at}`, kind, url }
  await createTables(direct)
  const opened = openParticipant(direct)
  const context = { name: direct.name, clock: systemClock, warn: (): void => undefined }
  const participant = opened.definition.create(context)
  await participant.init()
  await participant.close()
  await opened.close()
  const { hostname, port } = new URL(url)
  const proxy = await wireProxy(hostname, Number(port))
  const through = new URL(url)
  through.port = String(proxy.port)
  const database = { ...direct, url: through.href }
  return { kind, server, direct, database, target: { kind, server, proxy } }
}

async function settled(databases: readonly Database[], logId: string): Promise<void> {
  const deadline = performance.now() + HEAL_MS
  for (;;) {
    const left = (await Promise.all(databases.map((one) => prepared(one, logId)))).flat()
    if (left.length === 0 || performance.now() > deadline) return
    await sleep(100)
  }
}

const run = randomBytes(4).toString('hex')
const seed = Number(values.seed)
const child = await bundle('chaos/child.ts')
const folder = mkdtempSync(join(tmpdir(), 'unanimous-chaos-'))
const places: Place[] = []
let isClean = false
try {
  for (const [at, word] of values.servers.split(',').entries()) {
    places.push(await place(word, at, run))
  }
  const names = places.map(({ server }) => `${server.flavour} ${server.version}`).join(', ')
  console.log(
    `chaos on ${names}, ${values.minutes} minutes, ${values.clients} clients, seed ${seed}`,
  )
  const directs = places.map(({ direct }) => direct)
  const supervisor = new Supervisor(child.path, {
    databases: places.map(({ database }) => database),
    log: join(folder, 'decisions'),
    clients: Number(values.clients),
    seed,
  })
  const targets = places.map(({ target }) => target)
  const nemesis = new Nemesis(randomFrom(seed), targets, supervisor)
  supervisor.start()
  await nemesis.rage(Number(values.minutes) * 60_000)
  await sleep(AFTER_MS)
  await supervisor.finish()
  await supervisor.openOnce()
  await settled(directs, supervisor.logId)
  const before = await snapshot(directs)
  await supervisor.openOnce()
  const found = await violations({
    databases: directs,
    answers: supervisor.answers,
    logId: supervisor.logId,
  })
  if ((await snapshot(directs)) !== before) found.push('a second recovery changed the databases')
  found.push(...supervisor.told)
  report(supervisor, nemesis, found)
  isClean = found.length === 0
} finally {
  for (const { target } of places) await target.proxy.close()
  await Promise.all(places.map(({ server }) => server.stop()))
  if (isClean) rmSync(folder, { recursive: true, force: true })
  else console.log(`the log is kept: ${folder}`)
  child.remove()
}

function report(supervisor: Supervisor, nemesis: Nemesis, found: readonly string[]): void {
  const { answers, recovered, starts, refusals } = supervisor
  console.log(`transfers      ${answers.length} answered, by ${starts} processes`)
  for (const answer of ['committed', 'rolled-back', 'in-doubt', 'heuristic']) {
    const count = answers.filter((one) => one.answer === answer).length
    console.log(`  ${answer.padEnd(38)} ${count}`)
  }
  const faults = [...nemesis.counts.values()].reduce((sum, count) => sum + count, 0)
  console.log(`faults         ${faults}`)
  for (const fault of FAULTS) console.log(`  ${fault.padEnd(38)} ${nemesis.counts.get(fault)}`)
  console.log(
    `recovered      ${recovered.commit} branches by commit, ${recovered.rollback} by rollback`,
  )
  console.log(`late PREPAREs  ${nemesis.lateVotes}`)
  for (const [code, { count, why }] of refusals) {
    console.log(`openings refused  ${count} ${code}, the last: ${why}`)
  }
  console.log(`violations     ${found.length}`)
  for (const one of found.slice(0, SHOWN)) console.log(`  ${one}`)
  const passed = FAULTS.filter((fault) => (nemesis.counts.get(fault) ?? 0) > 0).length
  const failed = FAULTS.length - passed + found.length
  console.log(`\n${passed} passed, ${failed} failed`)
  if (failed > 0) process.exitCode = 1
}
