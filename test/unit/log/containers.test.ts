/**
 * Two containers on one volume: process, network, host name and IPC of their own, and one kernel. A
 * process id of the one means nothing in the other; the kernel's lock holds across them.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'

const CHILD = fileURLToPath(new URL('../../support/log-child.ts', import.meta.url))
const APART = ['--user', '--map-root-user', '--pid', '--net', '--uts', '--ipc']
const RUN = ['--mount-proc', '--fork', '--kill-child', 'sh', '-c', 'hostname "$0" && exec "$@"']
// Where containers may not be nested, there is nothing to try it with.
const canIsolate = spawnSync('unshare', [...APART, ...RUN, 'one', 'true']).status === 0

let root = ''
let started: ChildProcess[] = []

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'unanimous-containers-'))
})

afterEach(async () => {
  await Promise.all(started.map(kill))
  started = []
  await rm(root, { recursive: true })
})

describe('two containers on one volume', { timeout: 60_000 }, () => {
  it.runIf(canIsolate)('have one owner, whom the other one learns by name', async () => {
    const owner = inContainer('blue')
    expect(await firstLine(owner)).toBe('open')
    const refused = await firstLine(inContainer('green'))
    expect(refused).toMatch(/^LOG_LOCKED /)
    expect(refused).toMatch(/process \d+ on blue/)
  })

  it.runIf(canIsolate)('hand it over when one is killed', async () => {
    const owner = inContainer('blue')
    expect(await firstLine(owner)).toBe('open')
    await kill(owner)
    // unshare may be gone a moment before what it kills.
    expect(await firstLine(inContainer('green', '10000'))).toBe('open')
  })
})

function inContainer(name: string, lockWaitMs = '0'): ChildProcess {
  const command = [process.execPath, '--import', 'tsx', CHILD, join(root, 'decisions'), lockWaitMs]
  const child = spawn('unshare', [...APART, ...RUN, name, ...command], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  started.push(child)
  return child
}

async function firstLine(child: ChildProcess): Promise<string> {
  if (child.stdout === null) throw new Error('the child has no output')
  const [line] = await once(createInterface({ input: child.stdout }), 'line')
  return String(line)
}

async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  child.kill('SIGKILL')
  await once(child, 'exit')
}
