/**
 * The command line on a terminal and in a shell: Ctrl-C in the middle of a recovery, a reader that has
 * seen enough, colours. `script` of util-linux is the terminal.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { afterEach, expect, it } from 'vitest'
import { collect } from '../support/cli-project.ts'
import { cliWorld, configText } from '../support/cli-world.ts'

const { project, mysql, prepared, rows, configure, clear } = await cliWorld()
afterEach(clear)

/** Runs a line of shell with the command line as `$UNANIMOUS`. */
function shell(line: string, env: NodeJS.ProcessEnv = {}): ChildProcess {
  return run('bash', ['-c', line], env)
}

/** The same on a terminal: everything comes out of one stream, and keys go in. */
function terminal(line: string, env: NodeJS.ProcessEnv = {}): ChildProcess {
  return run('script', ['-qec', line, '/dev/null'], env)
}

function run(command: string, args: readonly string[], env: NodeJS.ProcessEnv): ChildProcess {
  return spawn(command, args, {
    cwd: project.folder,
    env: {
      ...process.env,
      NODE_OPTIONS: '',
      // Node.js asks each of them whether a terminal has colours, `CI` as well: with it, none has.
      TERM: 'xterm-256color',
      CI: undefined,
      NO_COLOR: undefined,
      FORCE_COLOR: undefined,
      UNANIMOUS: `${process.execPath} ${project.main}`,
      ...env,
    },
    stdio: 'pipe',
  })
}

it('Ctrl-C in the middle of a recovery: what is settled stays settled, and the next run ends it', async () => {
  await project.crashAt('decide:after')
  const id = (await prepared()).ledger[0]?.split(':')[0] ?? 'none'
  await project.write(
    'unanimous.config.mjs',
    configText('postgres://app@127.0.0.1:1/nobody', mysql.url),
  )
  const child = terminal('$UNANIMOUS recover --apply --wait 60s')
  const ended = collect(child)
  await expect
    .poll(async () => (await prepared()).shop.some((one) => one.includes(id)), { timeout: 20_000 })
    .toBe(false)
  child.stdin?.write('\u0003')
  const { code, out } = await ended
  expect([code, out]).toEqual([130, expect.stringContaining('\r\u001b[KInterrupted. What was')])
  expect(await rows()).toEqual({ ledger: 0, shop: 1 })

  await configure()
  const again = await project.cli('recover', '--apply', '--wait', '10s')
  expect(again.code).toBe(0)
  expect(again.out).toMatch(/committed .* ledger/)
  expect(await rows()).toEqual({ ledger: 1, shop: 1 })
})

it.each(['head -1', 'true'])(
  'a reader that has seen enough, %s: the code of a whole answer',
  async (reader) => {
    await project.crashAt('decide:after')
    const line = `$UNANIMOUS list | ${reader}; exit \${PIPESTATUS[0]}`
    const { code, out, err } = await collect(shell(line))
    expect([code, err]).toEqual([3, 'Next: unanimous recover\n'])
    expect(out.split('\n')).toHaveLength(reader === 'true' ? 1 : 2)
  },
)

it('colours are for a terminal that wants them', async () => {
  await project.crashAt('decide:after')
  const [coloured, plain, piped] = await Promise.all([
    collect(terminal('$UNANIMOUS list')),
    collect(terminal('$UNANIMOUS list', { NO_COLOR: '1' })),
    collect(shell('$UNANIMOUS list')),
  ])
  expect([coloured.code, plain.code, piped.code]).toEqual([3, 3, 3])
  expect(coloured.out).toContain('\u001b[')
  for (const { out } of [plain, piped]) {
    expect(out).toContain('unsettled')
    expect(out).not.toContain('\u001b')
  }
})
