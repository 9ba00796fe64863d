/** docs/kubernetes.md and docs/systemd.md: the process is run and sent its SIGTERM, the files are read. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { parse } from 'yaml'
import { z } from 'zod'
import { runCommand } from '../../scripts/run-command.ts'
import { testDatabases } from '../support/databases.ts'
import { openPage, type Page } from '../support/docs.ts'

const { postgres, mysql } = await testDatabases()
const environment = { LEDGER_URL: postgres.url, SHOP_URL: mysql.url }
const kubernetes = await openPage('docs/kubernetes.md', environment)
const systemd = await openPage('docs/systemd.md', environment)

/** What closing may take beyond `drainMs`, as the page says. */
const BEYOND_SECONDS = 15

const BEFORE = `
import { createPool } from 'mysql2/promise'
import { Pool } from 'pg'
import { Coordinator } from 'unanimous'
import { mysql } from 'unanimous/mysql2'
import { postgres } from 'unanimous/pg'

const ledgerPool = new Pool({ connectionString: process.env['LEDGER_URL'] })
const shopPool = createPool(process.env['SHOP_URL'] ?? '')
`
/** A transaction that runs when the signal comes: it may end, and the process goes with 0. */
const SIGNALLED = `
setTimeout(() => undefined, 60_000)
const running = coordinator.transaction(async (tx) => {
  await tx.ledger.query('select 1')
  process.kill(process.pid, 'SIGTERM')
  await tx.ledger.query('select pg_sleep(0.3)')
})
await running
console.log('ended')
`

function drainSeconds({ blocks }: Page): number {
  const [, ms = ''] = /drainMs: ([\d_]+)/.exec(blocks.map(({ code }) => code).join('\n')) ?? []
  return Number(ms.replace(/_/g, '')) / 1_000
}

function fileOf({ blocks }: Page, file: string): string {
  const found = blocks.find((each) => each.file === file)
  if (found === undefined) throw new Error(`no block ${file}`)
  return found.code
}

const Named = z.object({ name: z.string() })
const StatefulSet = z.object({
  apiVersion: z.literal('apps/v1'),
  kind: z.literal('StatefulSet'),
  metadata: Named,
  spec: z.object({
    serviceName: z.string(),
    selector: z.object({ matchLabels: z.record(z.string(), z.string()) }),
    persistentVolumeClaimRetentionPolicy: z.object({
      whenScaled: z.literal('Retain'),
      whenDeleted: z.literal('Retain'),
    }),
    template: z.object({
      metadata: z.object({ labels: z.record(z.string(), z.string()) }),
      spec: z.object({
        terminationGracePeriodSeconds: z.number(),
        containers: z.tuple([
          z.object({
            env: z.array(Named.extend({ value: z.string() })),
            lifecycle: z.object({
              preStop: z.object({ sleep: z.object({ seconds: z.number() }) }),
            }),
            volumeMounts: z.array(Named.extend({ mountPath: z.string() })),
          }),
        ]),
      }),
    }),
    volumeClaimTemplates: z.tuple([
      z.object({
        metadata: Named,
        spec: z.object({ accessModes: z.tuple([z.literal('ReadWriteOncePod')]) }),
      }),
    ]),
  }),
})

describe('Kubernetes', () => {
  it('the process ends in order at SIGTERM, and tells its probes how it is', async () => {
    const probes = 'console.log(isAlive(), isReady())\n'
    const output = await kubernetes.run({ before: BEFORE, after: probes + SIGNALLED })
    expect(output).toBe('true true\nended\n')
  })

  it('the StatefulSet keeps each replica’s log on a claim of its own, and gives it time', () => {
    const { spec } = StatefulSet.parse(parse(fileOf(kubernetes, 'statefulset.yaml')))
    const { template, selector, volumeClaimTemplates } = spec
    expect(template.metadata.labels).toEqual(selector.matchLabels)
    const [{ env, lifecycle, volumeMounts }] = template.spec.containers
    const mount = volumeMounts.find(({ name }) => name === volumeClaimTemplates[0].metadata.name)
    const directory = env.find(({ name }) => name === 'DECISIONS')?.value
    expect(mount).toBeDefined()
    // Below the mount point: the root of a volume may hold lost+found.
    expect(directory?.startsWith(`${mount?.mountPath}/`)).toBe(true)
    const needed = lifecycle.preStop.sleep.seconds + drainSeconds(kubernetes) + BEYOND_SECONDS
    expect(drainSeconds(kubernetes)).toBeGreaterThan(0)
    expect(template.spec.terminationGracePeriodSeconds).toBeGreaterThanOrEqual(needed)
  })
})

describe('systemd', () => {
  it('the process ends in order at SIGTERM', async () => {
    expect(await systemd.run({ before: BEFORE, after: SIGNALLED })).toBe('ended\n')
  })

  it('the unit keeps the log, signals the process itself and gives it time', async () => {
    const unit = fileOf(systemd, 'shop.service')
    const settings = new Map(
      unit.split('\n').flatMap((line) => {
        const [, name, value] = /^([A-Za-z]+)=(.*)$/.exec(line) ?? []
        return name === undefined || value === undefined ? [] : [[name, value] as const]
      }),
    )
    expect(settings.get('KillMode')).toBe('mixed')
    expect(settings.get('StateDirectoryMode')).toBe('0700')
    expect(settings.get('Environment')).toBe(
      `DECISIONS=/var/lib/${settings.get('StateDirectory')}/decisions`,
    )
    expect(Number(settings.get('TimeoutStopSec'))).toBeGreaterThanOrEqual(
      drainSeconds(systemd) + BEYOND_SECONDS,
    )
    const folder = await mkdtemp(join(tmpdir(), 'unanimous-unit-'))
    onTestFinished(() => rm(folder, { recursive: true }))
    const file = join(folder, 'shop.service')
    // The program and the user are the reader's own.
    await writeFile(
      file,
      unit.replace('/usr/bin/node', process.execPath).replace('User=shop', 'User=root'),
    )
    const verified = await runCommand('systemd-analyze', ['verify', file], {
      cwd: folder,
      env: {},
      timeoutMs: 20_000,
    }).catch(() => undefined)
    // Where there is systemd, it has the last word.
    if (verified !== undefined) expect(verified.output).not.toContain('shop.service')
  })
})
