/**
 * The crash matrix: at which instant of what, which fault, and what must have become of it. This table
 * of required outcomes is the test; `npm run test:crash -- --list` prints it row by row.
 *
 *   C   committed in both databases, and a caller that lives hears `committed`
 *   c   the same, but the caller may hear `in-doubt`: it cannot know in time
 *   R   rolled back in both, and the caller hears `rolled-back`
 *   r   the same, but the caller may hear `in-doubt`
 *   E   all or nothing, and the caller hears the truth
 *   e   the same, but the caller may hear `in-doubt`
 *   H   committed in both, and one branch is reported as a hazard: its server lost the answer in a
 *       restart, and without marker tables MySQL can prove nothing (DESIGN: proof instead of guessing)
 *   h   as C, or as H: two lives of a MySQL that began in one second count as one; or the instant is that of
 *       either participant, and wallets' own XA COMMIT may be on its way when its server dies
 *
 * Whatever the letter: both databases agree, what callers heard is true, nothing stays prepared or
 * locked, nobody is warned of anything but H, and a second recovery changes nothing.
 */
import { FAILPOINTS, type Failpoint } from '../../src/failpoint.ts'

export type Letter = 'C' | 'c' | 'R' | 'r' | 'E' | 'e' | 'H' | 'h'

/** The databases, by the names of the bank's participants. */
export type Side = 'accounts' | 'wallets'
export const SIDES: readonly Side[] = ['accounts', 'wallets']

export const FAULTS = [
  /** SIGKILL of the coordinator's process. */
  'coordinator killed',
  /** SIGKILL of the server and its children, and a restart on the same data. */
  'accounts killed',
  'wallets killed',
  /** SIGSTOP until the caller has been answered: beyond every time limit. */
  'accounts frozen',
  'wallets frozen',
  /** All connections at once, or the one at whose message it happens. */
  'accounts cut',
  'wallets cut',
  /** Writes that need new blocks fail with ENOSPC. */
  'disk full',
  /** Every write and every sync fails with EIO. */
  'disk fails',
] as const
export type Fault = (typeof FAULTS)[number]

/** What is under way when the fault comes. */
export const SCENARIOS = [
  /** A transfer: both branches prepare, both commit. */
  'commit',
  /** The first transaction of an incarnation, which announces its participants. */
  'first',
  /** The same as `commit`; the fault comes when the end of the decision is forced, a batch later. */
  'end',
  /** The callback throws after it wrote on both sides. */
  'abort',
  /** A deferred constraint refuses PREPARE on one side; the other may be prepared. */
  'refusal',
  /** One phase, on one side. */
  'one accounts',
  'one wallets',
  /** A process died after it had decided commit; the next one opens and recovers. */
  'recover commit',
  /** It died with both branches prepared and nothing decided. */
  'recover abort',
  /** A segment of the log is full: transfer by transfer, until it rolls. */
  'roll',
  /** The same as `commit`, its statements given in advance. */
  'in advance',
  /** The same as `commit`, settled behind its caller's answer, which marker tables forbid. */
  'behind',
  /** Twelve transfers at a time, whose records share batches; the fault comes in the middle. */
  'many',
] as const
export type Scenario = (typeof SCENARIOS)[number]

/** Where the fault comes: at a failpoint in the process, or at a message on the wire. */
export type Instant =
  | { readonly kind: 'point'; readonly point: Failpoint; readonly nth: number }
  | { readonly kind: 'wire'; readonly side: Side; readonly message: Message; readonly cut: Cut }

/** How far a message gets. */
export const CUTS = ['before', 'sent', 'late', 'after'] as const
export type Cut = (typeof CUTS)[number]

/** Messages by what they are for; their texts are {@link TEXTS}. */
export type Message =
  | 'announce'
  | 'begin'
  | 'work'
  | 'vote'
  | 'commit'
  | 'rollback'
  | 'roll back prepared'
  | 'one phase'
  | 'list'

/** What the client's message contains. */
export const TEXTS: Readonly<Record<Message, Readonly<Record<Side, string>>>> = {
  announce: { accounts: 'unanimous_log', wallets: 'unanimous_log' },
  begin: { accounts: 'SET LOCAL unanimous.branch', wallets: 'XA START' },
  work: { accounts: 'insert into', wallets: 'insert into' },
  vote: { accounts: 'PREPARE TRANSACTION', wallets: 'XA PREPARE' },
  commit: { accounts: 'COMMIT PREPARED', wallets: 'XA COMMIT' },
  rollback: { accounts: 'ROLLBACK', wallets: 'XA ROLLBACK' },
  'roll back prepared': { accounts: 'ROLLBACK PREPARED', wallets: 'XA ROLLBACK' },
  'one phase': { accounts: 'COMMIT', wallets: 'ONE PHASE' },
  list: { accounts: 'pg_prepared_xact()', wallets: 'XA RECOVER' },
}

export interface Case {
  readonly title: string
  readonly scenario: Scenario
  readonly instant: Instant
  readonly fault: Fault
  readonly markers: boolean
  readonly required: Letter
}

/**
 * One row a failpoint; a column a fault, in the order of {@link FAULTS}. `#2`: the second time that
 * the point is met. A failpoint without a row fails the tests: {@link WITHOUT_ROW}.
 */
interface Row {
  readonly point: Failpoint
  readonly nth?: number
  readonly letters: string
}

//                                            killed C  killed  frozen  cut  disk
const COMMIT: readonly Row[] = [
  { point: 'begin:done', /*                */ letters: 'R  EE  RR  EE  Ce' },
  { point: 'prepare:before', /*            */ letters: 'R  RR  RR  RR  Ce' },
  // Which branch voted first is not known.
  { point: 'prepare:after-first', /*       */ letters: 'R  EE  EE  EE  Ce' },
  { point: 'prepare:after-all', /*         */ letters: 'R  CC  CC  CC  Ce' },
  { point: 'decide:before', /*             */ letters: 'R  CC  CC  CC  Ce' },
  { point: 'log:before-write', /*          */ letters: 'R  CC  CC  CC  Ce' },
  // Written and not synced: a killed process loses nothing of it, a power failure might.
  { point: 'log:after-write', /*           */ letters: 'E  CC  CC  CC  Ce' },
  { point: 'log:after-sync', /*            */ letters: 'C  CC  CC  CC  Cc' },
  { point: 'decide:after', /*              */ letters: 'C  CC  CC  CC  Cc' },
  { point: 'commit:before', /*             */ letters: 'C  CC  CC  CC  Cc' },
  { point: 'commit:after-first', /*        */ letters: 'C  Ch  CC  CC  Cc' },
  { point: 'commit:before-answered', /*    */ letters: 'C  Ch  CC  CC  Cc' },
  { point: 'commit:after-all', /*          */ letters: 'C  CC  CC  CC  Cc' },
]
const VOTED: readonly Failpoint[] = ['prepare:after-first', 'prepare:after-all', 'decide:before']
const DECIDED: readonly Failpoint[] = ['decide:after', 'commit:before', 'commit:after-first']
const among = (points: readonly Failpoint[]) => COMMIT.filter(({ point }) => points.includes(point))

const POINTS: Readonly<Record<Scenario, readonly Row[]>> = {
  commit: COMMIT,
  'in advance': among([...VOTED, ...DECIDED]),
  behind: among([...DECIDED, 'commit:before-answered', 'commit:after-all']),
  first: [{ point: 'prepare:before', /*      */ letters: 'R  RR  RR  RR  Ce' }],
  end: [
    { point: 'log:before-write', nth: 2, /*  */ letters: 'C  CC  CC  CC  Cc' },
    { point: 'log:after-write', nth: 2, /*   */ letters: 'C  CC  CC  CC  Cc' },
    { point: 'log:after-sync', nth: 2, /*    */ letters: 'C  CC  CC  CC  Cc' },
  ],
  abort: [
    { point: 'abort:before-decided', /*      */ letters: 'R  RR  RR  RR  RR' },
    { point: 'abort:before', /*              */ letters: 'R  RR  RR  RR  RR' },
    { point: 'abort:after-first', /*         */ letters: 'R  RR  RR  RR  RR' },
    { point: 'abort:after-all', /*           */ letters: 'R  RR  RR  RR  RR' },
  ],
  refusal: [
    { point: 'abort:before-decided', /*      */ letters: 'R  RR  RR  RR  RR' },
    { point: 'abort:before', /*              */ letters: 'R  RR  RR  RR  RR' },
    { point: 'abort:after-first', /*         */ letters: 'R  RR  RR  RR  RR' },
    { point: 'abort:after-all', /*           */ letters: 'R  RR  RR  RR  RR' },
  ],
  // A COMMIT that the server has not read yet may be read later, whatever its caller was told by then.
  'one accounts': [
    { point: 'one-phase:before', /*          */ letters: 'R  rC  eC  rC  CC' },
    { point: 'one-phase:after', /*           */ letters: 'C  CC  CC  CC  CC' },
  ],
  'one wallets': [
    { point: 'one-phase:before', /*          */ letters: 'R  Cr  Ce  Cr  CC' },
    { point: 'one-phase:after', /*           */ letters: 'C  CC  CC  CC  CC' },
  ],
  'recover commit': [
    { point: 'recover:before-list', /*       */ letters: 'C  CC  CC  CC  CC' },
    { point: 'recover:listed', /*            */ letters: 'C  CC  CC  CC  CC' },
    { point: 'recover:before-settle', /*     */ letters: 'C  Ch  CC  CC  CC' },
    { point: 'recover:after-settle', /*      */ letters: 'C  Ch  CC  CC  CC' },
    { point: 'recover:before-answered', /*   */ letters: 'C  Ch  CC  CC  CC' },
    // Opening writes a segment of its own; a disk that fails there refuses the opening.
    { point: 'log:after-checkpoint', /*      */ letters: 'C  CC  CC  CC  CC' },
    { point: 'log:after-create', /*          */ letters: 'C  CC  CC  CC  CC' },
    { point: 'log:after-rename', /*          */ letters: 'C  CC  CC  CC  CC' },
    { point: 'log:after-roll', /*            */ letters: 'C  CC  CC  CC  CC' },
    { point: 'log:after-retire', /*          */ letters: 'C  CC  CC  CC  CC' },
    { point: 'log:recycling', /*             */ letters: 'C  CC  CC  CC  CC' },
    { point: 'log:recycled', /*              */ letters: 'C  CC  CC  CC  CC' },
  ],
  'recover abort': [
    { point: 'recover:before-list', /*       */ letters: 'R  RR  RR  RR  RR' },
    { point: 'recover:listed', /*            */ letters: 'R  RR  RR  RR  RR' },
    { point: 'recover:before-settle', /*     */ letters: 'R  RR  RR  RR  RR' },
    { point: 'recover:after-settle', /*      */ letters: 'R  RR  RR  RR  RR' },
    { point: 'log:after-checkpoint', /*      */ letters: 'R  RR  RR  RR  RR' },
    { point: 'log:after-rename', /*          */ letters: 'R  RR  RR  RR  RR' },
    { point: 'log:recycling', /*             */ letters: 'R  RR  RR  RR  RR' },
  ],
  // A decision waits for its place in the next segment, or the ends of others do while it is not due.
  roll: [
    { point: 'log:before-roll', /*           */ letters: 'R  EE  EE  EE  Ce' },
    { point: 'log:after-checkpoint', /*      */ letters: 'R  EE  EE  EE  Ce' },
    { point: 'log:after-create', /*          */ letters: 'R  EE  EE  EE  Ce' },
    { point: 'log:after-rename', /*          */ letters: 'R  EE  EE  EE  Ce' },
    { point: 'log:after-roll', /*            */ letters: 'R  EE  EE  EE  Ce' },
    { point: 'log:after-retire', /*          */ letters: 'R  EE  EE  EE  Ce' },
    // In the background, with any of the transfers.
    { point: 'log:recycling', /*             */ letters: 'E  ee  ee  ee  ee' },
    { point: 'log:recycled', /*              */ letters: 'E  ee  ee  ee  ee' },
  ],
  many: [
    { point: 'prepare:after-first', nth: 15, /**/ letters: 'E  ee  ee  ee  ee' },
    { point: 'prepare:after-all', nth: 15, /**/ letters: 'E  ee  ee  ee  ee' },
    { point: 'log:after-write', nth: 5, /*   */ letters: 'E  ee  ee  ee  ee' },
    { point: 'decide:after', nth: 15, /*     */ letters: 'E  ee  ee  ee  ee' },
    { point: 'commit:after-first', nth: 15, /**/ letters: 'E  eh  ee  ee  ee' },
  ],
}

const COVERED: ReadonlySet<Failpoint> = new Set(
  SCENARIOS.flatMap((scenario) => POINTS[scenario].map(({ point }) => point)),
)
/** Failpoints that no case comes to: there must be none. */
export const WITHOUT_ROW: readonly Failpoint[] = FAILPOINTS.filter((one) => !COVERED.has(one))

/**
 * One row a message of one side. `cuts` are the letters of {@link CUTS} when that connection is cut or
 * the coordinator is killed there (`killed`, where it differs); then when that server is killed and when it
 * is frozen, each at `before` and at `after`. An answer that is held while a server is stopped may come too
 * late to count: time limits are short there.
 */
interface WireRow {
  readonly message: Message
  readonly sides: readonly Side[]
  readonly cut: string
  readonly killed?: string
  readonly server: string
  readonly frozen: string
  /** Only with marker tables, or only without; both when absent. */
  readonly markers?: boolean
}

/**
 * The only statement of one phase. COMMIT follows its answer at once, into a server that stands still, and
 * may be read when that goes on. PostgreSQL without marker tables is asked for the transaction's id first.
 */
function oneWork(side: Side): readonly WireRow[] {
  const row = { message: 'work', sides: [side], cut: 'RRRR', server: 'RR' } as const
  return [
    { ...row, frozen: 'Re', markers: true },
    { ...row, frozen: side === 'accounts' ? 'RR' : 'Re', markers: false },
  ]
}

const VOTE: WireRow = { message: 'vote', sides: SIDES, cut: 'RRRR', server: 'RR', frozen: 'RE' }
const COMMITS: readonly WireRow[] = [
  { message: 'commit', sides: ['accounts'], cut: 'CCCC', server: 'CC', frozen: 'CC' },
  {
    message: 'commit',
    sides: ['wallets'],
    cut: 'CCCC',
    server: 'CC',
    frozen: 'CC',
    markers: true,
  },
  {
    message: 'commit',
    sides: ['wallets'],
    cut: 'CCCC',
    server: 'Ch',
    frozen: 'CC',
    markers: false,
  },
]

const WIRE: Readonly<Record<Scenario, readonly WireRow[]>> = {
  commit: [
    { message: 'begin', sides: SIDES, cut: 'RRRR', server: 'RR', frozen: 'RR' },
    { message: 'work', sides: SIDES, cut: 'RRRR', server: 'RR', frozen: 'RR' },
    VOTE,
    ...COMMITS,
  ],
  'in advance': [VOTE],
  behind: COMMITS,
  first: [
    {
      message: 'announce',
      sides: SIDES,
      cut: 'EEEE',
      killed: 'RRRR',
      server: 'EE',
      frozen: 'RE',
      markers: true,
    },
  ],
  end: [],
  abort: [{ message: 'rollback', sides: SIDES, cut: 'RRRR', server: 'RR', frozen: 'RR' }],
  refusal: [
    { message: 'roll back prepared', sides: ['wallets'], cut: 'RRRR', server: 'RR', frozen: 'RR' },
  ],
  'one accounts': [
    ...oneWork('accounts'),
    {
      message: 'one phase',
      sides: ['accounts'],
      cut: 'reeC',
      killed: 'REEC',
      server: 'rc',
      frozen: 'ec',
    },
  ],
  'one wallets': [
    ...oneWork('wallets'),
    {
      message: 'one phase',
      sides: ['wallets'],
      cut: 'reec',
      killed: 'REEC',
      server: 'rc',
      frozen: 'ec',
    },
  ],
  'recover commit': [
    { message: 'list', sides: SIDES, cut: 'CCCC', server: 'CC', frozen: 'CC' },
    ...COMMITS,
  ],
  'recover abort': [
    { message: 'list', sides: SIDES, cut: 'RRRR', server: 'RR', frozen: 'RR' },
    { message: 'roll back prepared', sides: SIDES, cut: 'RRRR', server: 'RR', frozen: 'RR' },
  ],
  roll: [],
  many: [],
}

/** Every case of the matrix, in the order of the table. */
export function allCases(): readonly Case[] {
  return SCENARIOS.flatMap((scenario) =>
    (scenario === 'behind' ? [false] : [true, false]).flatMap((markers) => [
      ...POINTS[scenario].flatMap((row) => pointCases(scenario, markers, row)),
      ...WIRE[scenario].flatMap((row) => wireCases(scenario, markers, row)),
    ]),
  )
}

function pointCases(scenario: Scenario, markers: boolean, row: Row): Case[] {
  const letters = row.letters.replaceAll(' ', '')
  return FAULTS.map((fault, at) => {
    const letter = letters[at] as Letter
    // With marker tables there is proof.
    const required = letter === 'h' && markers ? 'C' : letter
    const instant: Instant = { kind: 'point', point: row.point, nth: row.nth ?? 1 }
    return titled({ scenario, markers, fault, instant, required })
  })
}

function wireCases(scenario: Scenario, markers: boolean, row: WireRow): Case[] {
  if (row.markers !== undefined && row.markers !== markers) return []
  const { message } = row
  return row.sides.flatMap((side) => {
    const one = (cut: Cut, fault: Fault, letter: string | undefined): Case =>
      titled({
        scenario,
        markers,
        fault,
        instant: { kind: 'wire', side, message, cut },
        required: letter as Letter,
      })
    return [
      ...CUTS.map((cut, at) => one(cut, `${side} cut`, row.cut[at])),
      ...CUTS.map((cut, at) => one(cut, 'coordinator killed', (row.killed ?? row.cut)[at])),
      ...(['before', 'after'] as const).flatMap((cut, at) => [
        one(cut, `${side} killed`, row.server[at]),
        one(cut, `${side} frozen`, row.frozen[at]),
      ]),
    ]
  })
}

function titled(one: Omit<Case, 'title'>): Case {
  const { scenario, instant, fault, markers, required } = one
  const where =
    instant.kind === 'point'
      ? `${instant.point}${instant.nth === 1 ? '' : `#${instant.nth}`}`
      : `${instant.cut} ${instant.side}' ${instant.message}`
  const title = `${scenario} | ${where} | ${fault} | ${markers ? 'markers' : 'defaults'} | ${required}`
  return { title, ...one }
}
