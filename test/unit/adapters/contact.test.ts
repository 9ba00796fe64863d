/** When a server is looked at, and when what was seen still counts; test/integration/doctor.test.ts asks real ones. */
import { beforeEach, expect, it } from 'vitest'
import { Contact, type Learned } from '../../../adapters/dialect/contact.ts'
import { Lane } from '../../../adapters/dialect/lane.ts'
import type { Finding, ParticipantWarning, ServerIdentity } from '../../../src/adapter.ts'
import { systemClock } from '../../../src/adapter.ts'

interface Own {
  readonly number: number
}

const FIRST: ServerIdentity = { server: 'a', startedAtMs: 1 }
const RESTARTED: ServerIdentity = { server: 'a', startedAtMs: 2 }
const unwise: Finding = { code: 'pooler', severity: 'unwise', message: 'a pooler', mend: 'allow' }
const unfit: Finding = { ...unwise, code: 'fsync-off', severity: 'unfit' }

let server: { identity: ServerIdentity; findings: readonly Finding[] }
let looks: number[]
let warnings: ParticipantWarning[]
let lane: Lane<Own>
let contact: Contact<Own, Learned>

beforeEach(() => {
  server = { identity: FIRST, findings: [] }
  looks = []
  warnings = []
  let opened = 0
  lane = new Lane('ledger', systemClock, 1_000, {
    open: async () => {
      opened += 1
      return { number: opened }
    },
    alive: () => true,
    isAnswer: () => true,
    destroy: () => undefined,
    end: async () => undefined,
    hold: () => undefined,
  })
  contact = new Contact<Own, Learned>({
    participant: 'ledger',
    lane,
    ask: (work) => lane.use(work),
    look: async (own) => {
      looks.push(own.number)
      const { identity, findings } = server
      return { server: 'S 1', markers: true, clockSkewMs: 0, settings: {}, identity, findings }
    },
    isSameLife: (one, other) =>
      one.server === other.server && one.startedAtMs === other.startedAtMs,
    warn: (warning) => warnings.push(warning),
  })
})

it('looks once, however many ask', async () => {
  await Promise.all([contact.fit(), contact.fit(), contact.learn()])
  await contact.fit()
  await lane.use((own) => contact.on(own))
  await contact.confirm(FIRST)
  expect(looks).toEqual([1])
})

it('looks again on a new connection of our own, before what is known is used on it', async () => {
  await contact.fit()
  server = { identity: RESTARTED, findings: [unfit] }
  lane.renew()
  const { identity } = await lane.use((own) => contact.on(own))
  expect(identity).toEqual(RESTARTED)
  expect(looks).toEqual([1, 2])
  await expect(contact.fit()).rejects.toMatchObject({ code: 'PARTICIPANT_UNFIT' })
})

it('looks again, on a new connection, when a session of the pool is on another life', async () => {
  await contact.fit()
  server = { identity: RESTARTED, findings: [] }
  await Promise.all([contact.confirm(RESTARTED), contact.confirm(RESTARTED)])
  expect(looks).toEqual([1, 2])
})

it('refuses the session when the other life is unfit', async () => {
  await contact.fit()
  server = { identity: RESTARTED, findings: [unfit] }
  await expect(contact.confirm(RESTARTED)).rejects.toMatchObject({
    code: 'PARTICIPANT_UNFIT',
    message: 'ledger: a pooler',
  })
})

it('refuses the session when our own connection leads elsewhere for good', async () => {
  await contact.fit()
  await expect(contact.confirm({ server: 'b', startedAtMs: 1 })).rejects.toMatchObject({
    code: 'PARTICIPANT_UNFIT',
    message: 'ledger: the pool leads to more than one server',
  })
})

it('warns once of a server, and again of another one; never of what is allowed', async () => {
  server = { identity: FIRST, findings: [unwise, { ...unfit, severity: 'allowed' }] }
  await contact.fit()
  await contact.examine()
  await contact.fit()
  server = { ...server, identity: RESTARTED }
  await contact.confirm(RESTARTED)
  expect(warnings.map(({ code }) => code)).toEqual(['pooler'])
  server = { ...server, identity: { server: 'b', startedAtMs: 1 } }
  await contact.confirm(server.identity)
  expect(warnings.map(({ code }) => code)).toEqual(['pooler', 'pooler'])
})

it('an attempt that failed is made again', async () => {
  const { findings } = server
  Object.defineProperty(server, 'findings', {
    configurable: true,
    get: () => {
      throw new Error('gone')
    },
  })
  await expect(contact.fit()).rejects.toThrow('gone')
  Object.defineProperty(server, 'findings', { value: findings })
  expect(await contact.fit()).toEqual({ server: 'S 1', markers: true })
})
