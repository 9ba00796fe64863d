/**
 * What the user of a command may not read: the log, a file of it, or the configuration. Each is told
 * with the next step, and nothing is taken for a log or a configuration that is not there.
 */
import { chmod, mkdir, readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { type CliResult, cliProject } from '../support/cli-project.ts'
import { testDatabases } from '../support/databases.ts'

const { postgres, mysql } = await testDatabases()
const project = await cliProject()
await project.write(
  'unanimous.config.mjs',
  `import mysql2 from 'mysql2/promise'
import pg from 'pg'
import { mysql } from 'unanimous/mysql2'
import { postgres } from 'unanimous/pg'

const ledger = new pg.Pool({ connectionString: ${JSON.stringify(postgres.url)} })
const shop = mysql2.createPool(${JSON.stringify(mysql.url)})
export default {
  log: './decisions',
  participants: { ledger: postgres(ledger), shop: mysql(shop) },
  close: () => Promise.all([ledger.end(), shop.end()]),
}
`,
)
const LOG = join(project.folder, 'decisions')
const READ_LOG = 'run commands as the user of the application'
const READ_CONFIG =
  'Run the command as the user of the application, or let this user read the file.'

beforeAll(async () => {
  await project.crashAt('begin:done')
  expect((await project.bound('list')).code).toBe(0)
})

/** Takes every permission from it until the test is over. */
async function closeOff(path: string): Promise<void> {
  const { mode } = await stat(path)
  await chmod(path, 0)
  onTestFinished(() => chmod(path, mode))
}

async function newestSegment(): Promise<string> {
  const segments = (await readdir(LOG)).filter((name) => name.startsWith('segment-'))
  return join(LOG, segments.toSorted().at(-1) ?? 'missing')
}

function expectRefusal({ code, out, err }: CliResult, path: string, hint: string): void {
  expect([code, out]).toEqual([2, ''])
  expect(err).toContain(`error: ${path}`)
  expect(err).toContain('EACCES: permission denied')
  expect(err).toContain(hint)
}

const READERS = ['list', 'status', 'recover', 'recover --apply', 'log verify', 'log dump']

describe('a log that may not be read is 2', () => {
  it.each(READERS)('the directory: %s', async (command) => {
    await closeOff(LOG)
    expectRefusal(await project.bound(...command.split(' ')), LOG, READ_LOG)
  })

  it.each(READERS)('its newest segment: %s', async (command) => {
    await closeOff(await newestSegment())
    expectRefusal(await project.bound(...command.split(' ')), LOG, READ_LOG)
  })

  it('and doctor names it as what is to mend: 3', async () => {
    await closeOff(LOG)
    const { code, out } = await project.bound('doctor')
    expect(code).toBe(3)
    expect(out).toContain(READ_LOG)
  })
})

describe('a configuration that may not be read is 2', () => {
  it.each([[['list']], [['list', '--config', 'unanimous.config.mjs']], [['doctor']]])(
    'found or named: %s',
    async (args) => {
      const file = join(project.folder, 'unanimous.config.mjs')
      await closeOff(file)
      expectRefusal(await project.bound(...args), `${file} cannot be read`, READ_CONFIG)
    },
  )

  it('in a directory that may not be entered: it is not said to be missing', async () => {
    const folder = join(project.folder, 'closed')
    await mkdir(folder)
    await closeOff(folder)
    const file = join(folder, 'pay.mjs')
    const result = await project.bound('list', '--config', 'closed/pay.mjs')
    expectRefusal(result, `${file} cannot be read`, READ_CONFIG)
  })

  it('and the log commands say that they need none', async () => {
    await closeOff(join(project.folder, 'unanimous.config.mjs'))
    const { code, err } = await project.bound('log', 'verify')
    expect([code, err]).toEqual([2, expect.stringContaining('--log DIR')])
    expect((await project.bound('log', 'verify', '--log', LOG)).code).toBe(0)
  })
})
