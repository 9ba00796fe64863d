/** What keeps the drivers, `pg` and `mysql2`, from breaking atomicity, taken out. */
import { type At, lines, type TakeOut } from './patch.ts'

const PG = 'test/contract/pg.test.ts'
const MYSQL = 'test/contract/mysql2.test.ts'
const OWN = 'test/contract/own-servers.test.ts'
const BOTH: readonly At[] = ['mariadb', 'mysql']
const LANE = 'adapters/dialect/lane.ts'
const PG_BRANCH = 'adapters/pg/branch.ts'
const PG_POOL = 'adapters/pg/pool.ts'
const PG_FACADE = 'adapters/pg/facade.ts'
const MY_BRANCH = 'adapters/mysql2/branch.ts'
const MY_POOL = 'adapters/mysql2/pool.ts'
const MY_LEASE = 'adapters/mysql2/lease.ts'

export const DRIVER_TAKE_OUTS: readonly TakeOut[] = [
  ...lines(
    PG,
    ['postgres'],
    [
      [
        'E5',
        'no open block from the pool',
        'adapters/pg/enlist.ts',
        "if (status !== 'I') throw",
        'if (status === undefined) throw',
        'E: a connection that the pool hands out inside a transaction',
      ],
      [
        'E9',
        'a driver’s time-out ends the connection',
        PG_FACADE,
        'if (session.lost !== undefined || isDriverFailure(cause)) throw host.broken(cause)',
        '',
        'E: after a time-out of the driver',
      ],
      [
        'E2',
        'a listener on the pool',
        'adapters/pg/participant.ts',
        "pool.on('error', this.#ignorePoolError)",
        '',
        'E: pg Client/Pool without',
      ],
      [
        'E3',
        'the listener leaves with the branch',
        PG_POOL,
        "this.client.removeListener('error', this.#onError)",
        '',
        'leaks neither a connection nor a listener',
      ],
      [
        'E4',
        'the end of a connection is heard',
        PG_BRANCH,
        'if (session === undefined || session.lost !== undefined) {',
        'if (session === undefined) {',
        'E: a connection that dies between',
      ],
      [
        'E6',
        'a connection of unknown state is not given back',
        PG_POOL,
        'this.client.release(true)',
        'this.client.release()',
        'E: release(true)',
      ],
      [
        'E10',
        'a bound on the wait',
        PG_POOL,
        'takeInTime(clock, boundMs, ',
        'takeInTime(clock, 2 ** 31 - 1, ',
        'waits for a connection no longer than told',
      ],
      [
        'E11',
        'out of reach is no server’s answer',
        LANE,
        `return new UnanimousError('PARTICIPANT_UNREACHABLE', \`\${this.#name}: \${why}\``,
        `return new UnanimousError('PARTICIPANT_UNFIT', \`\${this.#name}: \${why}\``,
        'E: pool while server is down',
      ],
    ],
  ),
  ...lines(
    OWN,
    ['postgres'],
    [
      [
        'E1',
        'a lost vote is unknown',
        PG_BRANCH,
        "if (answer.kind === 'lost') return { kind: 'unknown', cause: answer.refusal.cause }",
        "if (answer.kind === 'lost') return { kind: 'refused', refusal: answer.refusal }",
        'E: pg: kill -9 server',
      ],
    ],
  ),
  ...lines(MYSQL, BOTH, [
    [
      'E15',
      'a driver’s time-out ends the connection',
      MY_LEASE,
      'if (error === undefined && !(cause instanceof TypeError)) return host.broken(cause)',
      '',
      'E: after a time-out of the driver',
    ],
    [
      'E16',
      'the hard close',
      MY_POOL,
      'stream.destroy(new Error(cause.message, { cause }))',
      '',
      'E: mysql2 connection.destroy()',
    ],
    [
      'E12',
      'a lost connection dooms',
      MY_BRANCH,
      'this.gate.doom(connectionLost(cause))\n',
      '',
      'E: a connection killed under',
      undefined,
      {
        file: MY_BRANCH,
        from: 'this.gate.seal(because) ?? death',
        to: 'this.gate.seal(because)',
      },
    ],
    [
      'E19',
      'a bound on the wait',
      MY_POOL,
      'takeInTime(clock, boundMs, ',
      'takeInTime(clock, 2 ** 31 - 1, ',
      'waits for a connection no longer than told',
    ],
    [
      'E21',
      'out of reach is no server’s answer',
      LANE,
      `return new UnanimousError('PARTICIPANT_UNREACHABLE', \`\${this.#name}: \${why}\``,
      `return new UnanimousError('PARTICIPANT_UNFIT', \`\${this.#name}: \${why}\``,
      'E: connect error of mysql2',
    ],
  ]),
  ...lines(OWN, BOTH, [
    [
      'E12',
      'a lost connection dooms',
      MY_BRANCH,
      'this.gate.doom(connectionLost(cause))\n',
      '',
      'E: mysql2: kill -9, in flight',
      undefined,
      {
        file: MY_BRANCH,
        from: 'this.gate.seal(because) ?? death',
        to: 'this.gate.seal(because)',
      },
    ],
  ]),
]
