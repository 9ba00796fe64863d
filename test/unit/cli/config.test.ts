/** The configuration module, on real files. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { loadConfig } from '../../../src/cli/config.ts'
import { defineConfig } from '../../../src/config.ts'
import type { UnanimousError } from '../../../src/errors.ts'
import { FakeParticipant } from '../../support/fake-participant.ts'

let folder = ''

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'unanimous-config-'))
})

afterEach(async () => {
  await rm(folder, { recursive: true })
})

const write = (name: string, text: string): Promise<void> => writeFile(join(folder, name), text)
const PARTICIPANTS = 'participants: { ledger: { create() {} } }'

async function refusal(file?: string): Promise<UnanimousError> {
  try {
    await loadConfig(folder, file)
  } catch (cause) {
    return cause as UnanimousError
  }
  throw new Error('the configuration was taken')
}

describe('a configuration', () => {
  it.each([
    ['unanimous.config.mjs', `export default { log: './decisions', ${PARTICIPANTS} }`],
    [
      'unanimous.config.ts',
      `const log: string = './decisions'; export default { log, ${PARTICIPANTS} } satisfies object`,
    ],
    ['unanimous.config.mjs', `export default () => ({ log: './decisions', ${PARTICIPANTS} })`],
    [
      'unanimous.config.ts',
      `export default async () => ({ log: { directory: 'decisions' }, ${PARTICIPANTS} })`,
    ],
  ])('is found and read: %s %s', async (name, text) => {
    await write(name, text)
    const config = await loadConfig(folder, undefined)
    expect(config.log).toEqual({ directory: join(folder, 'decisions') })
    expect(Object.keys(config.participants)).toEqual(['ledger'])
    await config.close()
  })

  it('is TypeScript before JavaScript, which may be what it was compiled to', async () => {
    await write('unanimous.config.ts', `export default { log: 'from-ts', ${PARTICIPANTS} }`)
    await write('unanimous.config.mjs', `export default { log: 'from-mjs', ${PARTICIPANTS} }`)
    expect((await loadConfig(folder, undefined)).log.directory).toBe(join(folder, 'from-ts'))
  })

  it('starts relative paths at its own file, wherever the command runs', async () => {
    await mkdir(join(folder, 'deploy'))
    await write('deploy/pay.mjs', `export default { log: '../decisions', ${PARTICIPANTS} }`)
    const { log } = await loadConfig(folder, 'deploy/pay.mjs')
    expect(log.directory).toBe(join(folder, 'decisions'))
  })

  it('keeps the options of the log', async () => {
    const log = `{ directory: '/d', lockWaitMs: 5, allowUnsafeFileSystem: true }`
    await write('unanimous.config.mjs', `export default { log: ${log}, ${PARTICIPANTS} }`)
    expect((await loadConfig(folder, undefined)).log).toEqual({
      directory: '/d',
      lockWaitMs: 5,
      allowUnsafeFileSystem: true,
    })
  })

  it('is awaited when it closes', async () => {
    await write(
      'unanimous.config.mjs',
      `export default { log: 'd', ${PARTICIPANTS}, close: async () => { globalThis.closed = true } }`,
    )
    await (await loadConfig(folder, undefined)).close()
    expect(globalThis).toHaveProperty('closed', true)
  })
})

describe('a configuration is refused', () => {
  it('when there is none, with a complete example', async () => {
    const { code, message, hint } = await refusal()
    expect(code).toBe('CONFIG_INVALID')
    expect(message).toContain('unanimous.config.ts')
    for (const part of ['unanimous/pg', 'unanimous/mysql2', 'log:', 'participants:', '--config']) {
      expect(hint).toContain(part)
    }
  })

  it('when the file that was named is missing', async () => {
    expect((await refusal('elsewhere.mjs')).message).toContain(join(folder, 'elsewhere.mjs'))
  })

  it.each([
    ['export const log = 1', 'no default export'],
    ['export default 7', 'the default export: '],
    [`export default { ${PARTICIPANTS} }`, 'log: '],
    [`export default { log: '', ${PARTICIPANTS} }`, 'log: '],
    [`export default { log: 'd' }`, 'participants: '],
    [`export default { log: 'd', participants: {} }`, 'at least one participant'],
    [
      `export default { log: 'd', participants: { ledger: 7 } }`,
      'participants.ledger: expected what an adapter',
    ],
    [`export default { log: 'd', ${PARTICIPANTS}, close: 1 }`, 'close: expected a function'],
    [`throw new Error('no such variable')`, 'no such variable'],
    [`export default () => { throw new Error('too early') }`, 'too early'],
    ['export default {', 'cannot be used'],
  ])('%s', async (text, message) => {
    for (const name of ['broken.mjs', 'broken.ts']) {
      await write(name, text)
      const error = await refusal(name)
      expect([error.code, error.message]).toEqual([
        'CONFIG_INVALID',
        expect.stringContaining(message),
      ])
      expect(error.hint).toContain('export default')
    }
  })

  it('without a word of what it holds', async () => {
    await write('a.mjs', `throw new Error('cannot use postgres://app:geheim@db/ledger')`)
    await write(
      'b.mjs',
      `export default { log: { url: 'geheim' }, participants: { ledger: 'geheim' } }`,
    )
    for (const name of ['a.mjs', 'b.mjs']) {
      expect(JSON.stringify(await refusal(name))).not.toContain('geheim')
      expect((await refusal(name)).message).not.toContain('geheim')
    }
  })
})

it('defineConfig answers its argument', () => {
  const config = { log: './decisions', participants: { ledger: new FakeParticipant([]) } }
  expect(defineConfig(config)).toBe(config)
})
