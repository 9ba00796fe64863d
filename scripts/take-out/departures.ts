/** What keeps MariaDB from saying OK to a commit that it does not do (T11), taken out. */
import { lines, type TakeOut } from './patch.ts'

const MY_DEPARTURES = 'adapters/mysql2/departures.ts'
const MY_SETTLE = 'adapters/mysql2/settle.ts'

export const DEPARTURE_TAKE_OUTS: readonly TakeOut[] = [
  ...lines(
    'test/contract/mysql2.test.ts',
    ['mariadb'],
    [
      [
        'T11',
        'a session that ends is waited for',
        MY_SETTLE,
        "who === 'stranger' ? GONE : await own.presence(threadId)",
        'GONE as Presence',
        'T11: MariaDB is asked who has left',
      ],
      [
        'T11',
        'one that is ending is not asked',
        MY_DEPARTURES,
        "command === 'Killed' ? 'ending' : 'there'",
        "'gone', inMs: 0",
        'T11: what is committed',
      ],
      [
        'T11',
        'no verb while the preparer is there',
        MY_SETTLE,
        "return life === 'same' ? 'preparer' : 'stranger'",
        "return 'unknown'",
        'T11: a session that begins to end',
      ],
      [
        'T11',
        'an id of another life is a stranger’s',
        MY_SETTLE,
        "return life === 'same' ? 'preparer' : 'stranger'",
        "return life === 'other-server' ? 'stranger' : 'preparer'",
        'T11: a session of the same id',
      ],
      [
        'T11',
        'one that is not shown is asked for by its id',
        MY_DEPARTURES,
        'return error.errno !== NO_SUCH_THREAD',
        'return false',
        'T11: sessions that are hidden',
      ],
    ],
  ),
  ...lines(
    'test/contract/own-servers.test.ts',
    ['mariadb'],
    [
      [
        'T11',
        'an OK that nobody vouches for is left to proof',
        MY_SETTLE,
        "isNamed ? kind === 'there' : decision === 'abort'",
        "isNamed ? kind === 'there' : true",
        'T11: behind a proxy',
      ],
    ],
  ),
]
