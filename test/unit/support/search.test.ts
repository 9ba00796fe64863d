/** Order and refusal of the search for servers, with providers that start nothing. */
import { describe, expect, test } from 'vitest'
import { search } from '../../support/servers/search.ts'
import type { Flavour, Provider, Server, Wish } from '../../support/servers/server.ts'
import { meets, Unavailable, versionNumber } from '../../support/servers/server.ts'

const ANY_MYSQL: Wish = { flavours: ['mariadb', 'mysql'] }
const quiet = (): void => undefined

interface Fake extends Provider {
  readonly started: Server[]
  readonly stopped: string[]
}

function offers(flavour: Flavour, version: string, name = `${flavour} ${version}`): Fake {
  const started: Server[] = []
  const stopped: string[] = []
  const nothing = async (): Promise<void> => undefined
  return {
    name,
    started,
    stopped,
    async start() {
      const stop = async (): Promise<void> => {
        stopped.push(name)
      }
      const rest = { kill: nothing, restart: nothing, suspend: nothing, resume: nothing, stop }
      const server: Server = { flavour, version, source: name, url: 'none', ...rest }
      started.push(server)
      return server
    },
  }
}

function refuses(name: string, error: Error): Provider {
  return {
    name,
    async start() {
      throw error
    },
  }
}

describe('search', () => {
  test('the first way that meets the wish wins, and later ones are not even tried', async () => {
    const first = offers('mariadb', '10.11.19')
    const second = offers('mysql', '9.7.4')
    const server = await search([first, second], ANY_MYSQL, quiet)
    expect(server).toBe(first.started[0])
    expect(second.started).toHaveLength(0)
  })

  test('a way that is not open is passed over', async () => {
    const closed = refuses('docker', new Unavailable('no engine'))
    const open = offers('mysql', '9.7.4')
    expect(await search([closed, open], ANY_MYSQL, quiet)).toBe(open.started[0])
  })

  test('a server of the wrong flavour is stopped, never handed out', async () => {
    const wrong = offers('mariadb', '10.11.19')
    const right = offers('mysql', '9.7.4')
    const server = await search([wrong, right], { flavours: ['mysql'] }, quiet)
    expect(server.flavour).toBe('mysql')
    expect(wrong.stopped).toEqual(['mariadb 10.11.19'])
  })

  test('a server of the wrong version is stopped, and the refusal says what it was', async () => {
    const wrong = offers('postgres', '15.18')
    const wish: Wish = { flavours: ['postgres'], version: '18' }
    await expect(search([wrong], wish, quiet)).rejects.toThrow(
      /no PostgreSQL 18 could be had[\s\S]*postgres 15\.18: has postgres 15\.18/,
    )
    expect(wrong.stopped).toHaveLength(1)
  })

  test('the refusal names every way with its reason, and every hint', async () => {
    const ways = [
      refuses('environment', new Unavailable('no URL', 'SOME_URL=<url>')),
      refuses('docker', new Unavailable('no engine')),
      refuses('machine', new Error('disk full')),
    ]
    await expect(search(ways, ANY_MYSQL, quiet)).rejects.toThrow(
      [
        'no MariaDB or MySQL could be had. Tried:',
        '  - environment: no URL',
        '  - docker: no engine',
        '  - machine: disk full',
        'What would help, any one of:',
        '  - SOME_URL=<url>',
      ].join('\n'),
    )
  })

  test('a way that was open and failed is reported even if a later one works', async () => {
    const lines: string[] = []
    const ways = [refuses('machine', new Error('disk full')), offers('mysql', '9.7.4')]
    await search(ways, ANY_MYSQL, (line) => lines.push(line))
    expect(lines[0]).toBe('machine failed: disk full')
  })
})

describe('versions', () => {
  test.each([
    ['15.18', '15', true],
    ['15.18', '15.18', true],
    ['15.18', '1', false],
    ['10.11.19', '10.1', false],
    ['10.11.19', '10.11', true],
    ['9.7.4', undefined, true],
  ])('%s meets %s: %s', (version, wanted, expected) => {
    expect(meets(version, wanted)).toBe(expected)
  })

  test.each([
    ['10.11.19-MariaDB-0+deb12u1', '10.11.19'],
    ['15.18 (Debian 15.18-0+deb12u1)', '15.18'],
    ['9.7.4-2', '9.7.4'],
  ])('%s is %s', (text, expected) => {
    expect(versionNumber(text)).toBe(expected)
  })
})
