/**
 * Every combination of what the databases can say of a transaction with a branch in `ledger` and,
 * perhaps, one in `shop`, against the rule written a second time, as one sentence.
 */
import { describe, expect, it } from 'vitest'
import {
  judge,
  type ListedBranch,
  mayPass,
  type Testimonies,
  type Testimony,
} from '../../../src/protocol/from-databases.ts'

const LOG = '0123456789abcdef'
const SIBLING = 'fedcba9876543210'
const GTRID = `una1-${LOG}-3.abcdefgh-7`
const LEDGER: ListedBranch = {
  id: `${GTRID}:ledger`,
  xid: { gtrid: GTRID, bqual: 'ledger' },
  owner: 'app',
}
const SHOP: ListedBranch = { id: 'shop', xid: { gtrid: GTRID, bqual: 'shop.15' } }
const QUIET: Testimony['sessions'] = { naming: [], hidden: false, user: 'app' }

const row = (participant: string, incarnation = '3.abcdefgh') => ({ incarnation, participant })
const naming = (log: string) => [{ id: '42', statement: `COMMIT PREPARED 'una1-${log}-1.x-1:b'` }]

const DIMENSIONS = {
  word: ['given', 'for a sibling', 'none'],
  log: ['lost', 'present'],
  session: ['none', 'of this log', 'of another log'],
  hidden: ['none', 'our own branch', "another's branch"],
  rows: ['both', 'another incarnation', 'none', 'no tables'],
  shop: ['answers', 'has no rows', 'has no tables', 'is silent', 'is not configured'],
  branch: ['prepared', 'not listed'],
  marker: ['none', 'committed', 'open', 'committed, of another transaction'],
} as const
type Case = { readonly [D in keyof typeof DIMENSIONS]: (typeof DIMENSIONS)[D][number] }

function allCases(): Case[] {
  const cases = Object.entries(DIMENSIONS).reduce<Record<string, string>[]>(
    (some, [name, values]) =>
      some.flatMap((one) => values.map((value) => ({ ...one, [name]: value }))),
    [{}],
  )
  return cases as unknown as Case[]
}

function observed(one: Case): Testimonies {
  const participants = new Map<string, Testimony | undefined>()
  participants.set('ledger', {
    participant: 'ledger',
    sessions: {
      naming: one.session === 'none' ? [] : naming(one.session === 'of this log' ? LOG : SIBLING),
      hidden: one.hidden !== 'none',
      user: one.hidden === "another's branch" ? 'operator' : 'app',
    },
    listed: [LEDGER, { id: 'somebody' }],
    markers: [],
    announced: announcedBy(one.rows),
  })
  const markers: Testimony['markers'] =
    one.marker === 'none'
      ? []
      : [
          {
            gtrid: one.marker === 'committed, of another transaction' ? `${GTRID}0` : GTRID,
            bqual: 'shop.15',
            state: one.marker === 'open' ? 'open' : 'committed',
          },
        ]
  if (one.shop !== 'is not configured') {
    const testimony: Testimony = {
      participant: 'shop',
      sessions: QUIET,
      listed: one.branch === 'prepared' ? [SHOP] : [],
      markers,
      announced:
        one.shop === 'has no tables'
          ? undefined
          : new Map([[LOG, one.shop === 'answers' ? [row('shop'), row('ledger')] : []]]),
    }
    participants.set('shop', one.shop === 'is silent' ? undefined : testimony)
  }
  const word = { given: [LOG], 'for a sibling': [SIBLING], none: [] }[one.word]
  return {
    participants,
    dead: new Set(word),
    present: one.log === 'present' ? LOG : undefined,
  }
}

function announcedBy(rows: Case['rows']): Testimony['announced'] {
  switch (rows) {
    case 'both':
      return new Map([[LOG, [row('ledger'), row('shop')]]])
    case 'another incarnation':
      return new Map([[LOG, [row('ledger', '2.hgfedcba'), row('shop', '2.hgfedcba')]]])
    case 'none':
      return new Map()
    case 'no tables':
      return undefined
  }
}

/** The rule, once more. */
function required(one: Case): 'commit' | 'roll back' | 'leave' {
  const shopSpeaks = one.shop !== 'is silent' && one.shop !== 'is not configured'
  if (one.log === 'present') return 'leave'
  if (shopSpeaks && one.marker === 'committed') return 'commit'
  const mayRollBack =
    one.word === 'given' &&
    one.session !== 'of this log' &&
    one.hidden !== "another's branch" &&
    one.rows === 'both' &&
    one.shop === 'answers' &&
    !(one.marker === 'open' && one.branch === 'not listed')
  return mayRollBack ? 'roll back' : 'leave'
}

describe('what the databases decide without the log', () => {
  const cases = allCases()

  it(`agrees with the rule in all ${cases.length} combinations`, () => {
    const seen = { commit: 0, 'roll back': 0, leave: 0 }
    for (const one of cases) {
      const [verdict, ...others] = judge(observed(one))
      expect(others).toEqual([])
      expect(verdict?.action, JSON.stringify(one)).toBe(required(one))
      if (verdict !== undefined) seen[verdict.action] += 1
      // Nothing is left without a reason, and no roll-back has one against it.
      if (verdict?.action === 'leave') expect(verdict.hindrances).not.toEqual([])
      if (verdict?.action === 'roll back') expect(verdict.hindrances).toEqual([])
    }
    expect(cases).toHaveLength(8_640)
    expect(Math.min(...Object.values(seen))).toBeGreaterThan(10)
  })

  it('without the word nothing at all is rolled back', () => {
    const dead: ReadonlySet<string> = new Set()
    for (const one of cases) {
      for (const verdict of judge({ ...observed(one), dead })) {
        expect(verdict.action).not.toBe('roll back')
      }
    }
  })

  it('whoever stops to answer only ever makes it more careful', () => {
    for (const one of cases) {
      const full = observed(one)
      const action = judge(full)[0]?.action
      for (const name of full.participants.keys()) {
        const participants = new Map(full.participants).set(name, undefined)
        const less = judge({ ...full, participants }).map((verdict) => verdict.action)
        expect(less).not.toContain('roll back')
        if (less.includes('commit')) expect(action).toBe('commit')
      }
    }
  })
})

const CLEAN = observed({
  word: 'given',
  log: 'lost',
  session: 'none',
  hidden: 'none',
  rows: 'both',
  shop: 'answers',
  branch: 'prepared',
  marker: 'none',
})

describe('says why', () => {
  const kinds = (change: Partial<Case>): readonly string[] => {
    const one: Case = {
      word: 'given',
      log: 'lost',
      session: 'none',
      hidden: 'none',
      rows: 'both',
      shop: 'answers',
      branch: 'not listed',
      marker: 'none',
      ...change,
    }
    return judge(observed(one)).flatMap(({ hindrances }) => hindrances.map(({ kind }) => kind))
  }

  it.each<readonly [Partial<Case>, string]>([
    [{ word: 'none' }, 'no-word'],
    [{ word: 'for a sibling' }, 'no-word'],
    [{ log: 'present' }, 'log-present'],
    [{ session: 'of this log' }, 'session'],
    [{ hidden: "another's branch" }, 'hidden-sessions'],
    [{ rows: 'none' }, 'not-announced'],
    [{ rows: 'another incarnation' }, 'not-announced'],
    [{ rows: 'no tables' }, 'no-tables'],
    [{ shop: 'has no rows' }, 'not-announced'],
    [{ shop: 'has no tables' }, 'no-tables'],
    [{ shop: 'is silent' }, 'silent'],
    [{ shop: 'is not configured' }, 'not-configured'],
    [{ marker: 'open' }, 'open-marker'],
  ])('%o', (change, kind) => {
    expect(kinds(change)).toEqual([kind])
  })

  it('that the session of an open branch is connected: it may commit next', () => {
    const shop = CLEAN.participants.get('shop')
    if (shop === undefined) throw new Error('shop testifies')
    const marker = { gtrid: GTRID, bqual: 'shop.15', state: 'open', session: '15' } as const
    const participants = new Map(CLEAN.participants).set('shop', { ...shop, markers: [marker] })
    const [verdict] = judge({ ...CLEAN, participants })
    expect([verdict?.action, verdict?.hindrances]).toEqual([
      'leave',
      [{ kind: 'session', participant: 'shop', id: '15' }],
    ])
  })

  it('and every reason, when there are several', () => {
    expect(kinds({ word: 'none', shop: 'is silent', session: 'of this log' })).toEqual([
      'no-word',
      'session',
      'silent',
    ])
  })

  it('tells what time alone may change', () => {
    expect(mayPass({ kind: 'session', participant: 'a', id: '1' })).toBe(true)
    expect(mayPass({ kind: 'no-word', logId: LOG })).toBe(false)
  })
})

describe('participants that share a server', () => {
  const ledger = CLEAN.participants.get('ledger')
  const shop = CLEAN.participants.get('shop')
  if (ledger === undefined || shop === undefined) throw new Error('both testify')
  const EACH_OTHERS = [...ledger.listed, ...shop.listed]

  it('list each other’s branches: each is settled once, by its own', () => {
    const participants = new Map([
      ['ledger', { ...ledger, listed: EACH_OTHERS }],
      ['shop', { ...shop, listed: EACH_OTHERS }],
    ])
    const [verdict] = judge({ ...CLEAN, participants })
    expect(verdict?.action).toBe('roll back')
    expect(verdict?.branches.map(({ participant }) => participant)).toEqual(['ledger', 'shop'])
  })

  it('an open marker of a branch that another one of them lists is that branch’s own', () => {
    const marker = { gtrid: GTRID, bqual: 'shop.15', state: 'open' } as const
    const participants = new Map([
      ['ledger', { ...ledger, markers: [marker] }],
      ['shop', shop],
    ])
    expect(judge({ ...CLEAN, participants })[0]?.action).toBe('roll back')
  })

  it('a branch that only another’s server lists keeps the whole from being rolled back', () => {
    const participants = new Map([
      ['ledger', { ...ledger, listed: EACH_OTHERS }],
      ['shop', { ...shop, listed: [] }],
    ])
    const [verdict] = judge({ ...CLEAN, participants })
    expect([verdict?.action, verdict?.hindrances]).toEqual([
      'leave',
      [{ kind: 'elsewhere', participant: 'shop', seenBy: 'ledger' }],
    ])
  })
})

describe('branches of which no participant speaks as its own', () => {
  const ledger = CLEAN.participants.get('ledger')
  if (ledger === undefined) throw new Error('ledger testifies')
  const strange: ListedBranch = { id: 'stock', xid: { gtrid: GTRID, bqual: 'stock.8' } }

  it('keep the whole from being rolled back while theirs is not configured', () => {
    const participants = new Map(CLEAN.participants)
    participants.set('ledger', { ...ledger, listed: [LEDGER, strange] })
    const [verdict] = judge({ ...CLEAN, participants })
    expect(verdict?.action).toBe('leave')
    expect(verdict?.hindrances).toContainEqual({ kind: 'not-configured', participant: 'stock' })
  })

  it('are left alone although the transaction has committed: there is nobody to ask', () => {
    const marker = { gtrid: GTRID, bqual: 'ledger', state: 'committed' } as const
    const listed = [strange]
    const participants = new Map([['ledger', { ...ledger, listed, markers: [marker] }]])
    expect(judge({ ...CLEAN, participants })).toMatchObject([
      { action: 'leave', branches: [], committedIn: ['ledger'] },
    ])
  })
})

it('names of rows reach further than branches: a third that no list shows must answer too', () => {
  const ledger = CLEAN.participants.get('ledger')
  const participants = new Map(CLEAN.participants)
  if (ledger === undefined) throw new Error('ledger testifies')
  participants.set('ledger', {
    ...ledger,
    announced: new Map([[LOG, [row('ledger'), row('shop'), row('stock')]]]),
  })
  expect(judge({ ...CLEAN, participants })[0]?.hindrances).toEqual([
    { kind: 'not-configured', participant: 'stock' },
  ])
})
