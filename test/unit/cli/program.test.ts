/** Words, options and exit codes, in this process; test/integration/cli.test.ts runs the real thing. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { EXIT } from '../../../src/cli/exit-codes.ts'
import { runCli } from '../../../src/cli/program.ts'
import { systemClock } from '../../../src/clock.ts'

let folder = ''

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'unanimous-cli-'))
})

afterEach(async () => {
  await rm(folder, { recursive: true })
})

async function run(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  let out = ''
  let err = ''
  const code = await runCli(args, {
    cwd: folder,
    clock: systemClock,
    interactive: false,
    out: (text) => {
      out += text
    },
    err: (text) => {
      err += text
    },
    paint: (_, text) => text,
  })
  return { code, out, err }
}

describe('the command line', () => {
  it('tells its version, which is that of the package', async () => {
    const manifest: unknown = JSON.parse(await readFile('package.json', 'utf8'))
    const { code, out } = await run('--version')
    expect(code).toBe(EXIT.clean)
    expect(manifest).toHaveProperty('version', out.trim())
  })

  it.each([
    'status',
    'list',
    'show',
    'orphans',
    'recover',
    'resolve',
    'drain',
    'forget',
    'doctor',
    'init',
    'log verify',
    'log dump',
    'log compact',
    'log adopt',
  ])('%s --help has examples and exit codes', async (name) => {
    const { code, out, err } = await run(...name.split(' '), '--help')
    expect([code, err]).toEqual([EXIT.clean, ''])
    expect(out).toContain(`$ unanimous ${name}`)
    expect(out).toContain('Exit codes:')
  })

  it.each([
    [['--colour'], 'unknown option'],
    [['list', '--all'], 'unknown option'],
    [['lsit'], 'unknown command'],
    [['list', 'everything'], 'too many arguments'],
    [['show'], 'missing required argument'],
    [['recover', '--wait', 'long', '--apply'], 'A time has a unit'],
    [['recover', '--wait', '5s'], '--wait is for --apply'],
    [['list', '--limit', '0'], 'It is a number from 1'],
    [['list', '--state', 'lost'], 'Allowed choices are unsettled'],
    [['resolve', 'x', '--commit'], "required option '--reason <text>'"],
    [['resolve', 'x', '--commit', '--rollback', '--reason', 'y'], 'cannot be used with'],
    [['resolve', 'x', '--reason', 'y'], 'either --commit or --rollback is needed'],
    [['resolve', 'x', '--commit', '--reason', ' '], 'the reason is empty'],
    [['forget', 'x'], "required option '--reason <text>'"],
    [['log'], 'Usage: unanimous log'],
    [['log', 'repair'], 'unknown command'],
    [[], 'Usage: unanimous'],
  ])('refuses %j', async (args, message) => {
    const { code, out, err } = await run(...args)
    expect([code, out]).toEqual([EXIT.usage, ''])
    expect(err).toContain(message)
  })

  it.each(['status', 'list', 'orphans', 'recover', 'doctor', 'init'])(
    '%s without a configuration says how to write one',
    async (name) => {
      const { code, out, err } = await run(name)
      expect([code, out]).toEqual([EXIT.usage, ''])
      expect(err).toContain('export default {')
    },
  )

  it('refuses a participant that the configuration lacks, and names those that it has', async () => {
    const config = `export default { log: 'd', participants: { ledger: { create: () => ({}) } } }`
    await writeFile(join(folder, 'unanimous.config.mjs'), config)
    const { code, err } = await run('recover', '--participant', 'ledgre')
    expect(code).toBe(EXIT.usage)
    expect(err).toContain('no participant is named ledgre')
    expect(err).toContain('has ledger')
  })

  it('refuses a participant name that the library uses itself', async () => {
    const config = `export default { log: 'd', participants: { commit: { create: () => ({}) } } }`
    await writeFile(join(folder, 'unanimous.config.mjs'), config)
    const { code, err } = await run('list')
    expect([code, err]).toEqual([EXIT.usage, expect.stringContaining('cannot be named commit')])
  })

  it('a fault that nobody foresaw is 1, and is told', async () => {
    const broken = `{ create() { throw new TypeError('oops at mysql://app:geheim@db') } }`
    const config = `export default { log: 'd', participants: { ledger: ${broken} } }`
    await writeFile(join(folder, 'unanimous.config.mjs'), config)
    const { code, err } = await run('list')
    expect(code).toBe(EXIT.failure)
    expect(err).toContain('oops at mysql://***@db')
    expect(err).not.toContain('geheim')
  })
})
