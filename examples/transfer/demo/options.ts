/** The demo's command line. */
import { parseArgs } from 'node:util'
import type { MysqlWish, PostgresWish } from '../../../test/support/servers/index.ts'

export interface DemoOptions {
  readonly postgres: PostgresWish
  readonly mysql: MysqlWish
  readonly transfers: number
  readonly crashRounds: number
  readonly seed: number
  /** From restart to nothing in doubt, at most, in ms. */
  readonly limitMs: number
}

export const USAGE = `usage: npm run demo -- [options]
  --mysql mariadb|mysql[:VERSION]   default: whichever can be had
  --postgres VERSION                15, 18…; default: whichever can be had
  --transfers N                     default 1000
  --crash-rounds N                  each round kills four times; default 1, 0 for none
  --seed N                          which transfers, and where exactly the kills; default 1
  --limit-ms N                      from restart to nothing in doubt; default 2000`

/** @throws Error that says what is wrong with the words. */
export function parseOptions(words: readonly string[]): DemoOptions | 'help' {
  const { values } = parseArgs({
    args: [...words],
    options: {
      mysql: { type: 'string' },
      postgres: { type: 'string' },
      transfers: { type: 'string', default: '1000' },
      'crash-rounds': { type: 'string', default: '1' },
      seed: { type: 'string', default: '1' },
      'limit-ms': { type: 'string', default: '2000' },
      help: { type: 'boolean', short: 'h', default: false },
    },
  })
  if (values.help) return 'help'
  return {
    postgres: { version: values.postgres },
    mysql: mysqlWish(values.mysql),
    transfers: count('transfers', values.transfers),
    crashRounds: count('crash-rounds', values['crash-rounds']),
    seed: count('seed', values.seed),
    limitMs: count('limit-ms', values['limit-ms']),
  }
}

function mysqlWish(text: string | undefined): MysqlWish {
  if (text === undefined) return {}
  const [flavour, version] = text.split(':')
  if (flavour === 'mariadb' || flavour === 'mysql') return { flavour, version }
  throw new Error(`--mysql ${text}: expected mariadb or mysql`)
}

function count(name: string, text: string): number {
  const value = Number(text)
  if (/^\d+$/.test(text) && Number.isSafeInteger(value)) return value
  throw new Error(`--${name} ${text}: expected a number`)
}
