/**
 * The contract of statements given in advance: all of them run and are voted on, or none is, and nothing is
 * said of what a vote did not say.
 */
import assert from 'node:assert/strict'
import { type Branch, type GiveWhen, type Refusal, systemClock } from '../../src/adapter.ts'
import { branchOf, eventually, type OpenOptions, pause, sealed } from './harness.ts'
import {
  besideLock,
  type ContractCase,
  contract,
  evidenceOf,
  INSERT,
  ids,
  listed,
  type Stage,
  xidOf,
} from './stage.ts'

const AT_ONCE_MS = 900
const SECOND = 'INSERT INTO item VALUES (2, 2)'
const READ = 'SELECT id, v FROM item ORDER BY id'
const WAITS = 'UPDATE item SET v = 7 WHERE id = 5'
const VOTE: GiveWhen = 'with the vote'

/** In pools that send one statement at a time, and in those that send several; with marker rows and without. */
const everyWay = (
  name: string,
  body: (stage: Stage) => Promise<void>,
  options: OpenOptions = {},
): readonly ContractCase[] =>
  [false, true].flatMap((merges) =>
    [false, true].map((markers) => {
      const way = `${merges ? 'merged' : 'not merged'}, ${markers ? 'with' : 'without'} markers`
      return contract(`given in advance ${name} (${way})`, body, { ...options, merges, markers })
    }),
  )

const merged = (name: string, body: (stage: Stage) => Promise<void>, options: OpenOptions = {}) =>
  contract(name, body, { ...options, merges: true })

const give = (branch: Branch, texts: readonly string[], when: GiveWhen) =>
  branch.give(
    texts.map((text) => ({ text })),
    when,
  )

const votes: readonly ContractCase[] = [
  ...everyWay('runs with the vote, and answers in order', async ({ opened, other, harness }) => {
    const branch = branchOf(opened)
    assert.equal(opened.pool().total, 0)
    const texts = [INSERT, READ, SECOND, READ]
    const answers = await give(branch, texts, VOTE)
    assert.equal(branch.enlisted, true)
    assert.equal(opened.pool().total, 1, 'it has its connection')
    assert.equal(branch.seal(sealed), undefined)
    assert.equal(await branch.probe(), 'wrote')
    const { markers } = await opened.participant.contact()
    assert.equal(evidenceOf(await branch.vote()).marker, markers)
    const told = answers().map((answer) => harness.rowsOf(answer).map((row) => Number(row['id'])))
    assert.deepEqual(told, [[], [1], [], [1, 2]])
    assert.ok(await listed(opened, branch))
    assert.deepEqual(await ids(other), [], 'invisible while prepared')
    assert.deepEqual(await branch.commit(), { kind: 'answered' })
    assert.deepEqual(await ids(other), [1, 2])
  }),
  ...everyWay('is rolled back when prepared', async ({ opened, other }) => {
    const branch = branchOf(opened)
    await give(branch, [INSERT], VOTE)
    evidenceOf(await branch.vote())
    assert.deepEqual(await branch.rollback(), { kind: 'answered' })
    assert.deepEqual(await ids(other), [])
  }),
  ...everyWay('is rolled back before anything was said', async ({ opened, other }) => {
    const branch = branchOf(opened)
    await give(branch, [INSERT], VOTE)
    assert.deepEqual(await branch.rollback(), { kind: 'answered' })
    assert.deepEqual(await ids(other), [])
  }),
  ...everyWay('refuses when one of them fails, and keeps none', async ({ opened, other }) => {
    await other.run('INSERT INTO item VALUES (2, 0)')
    const branch = branchOf(opened)
    const texts = [INSERT, SECOND, 'INSERT INTO item VALUES (3, 3)']
    const refusal = await give(branch, texts, VOTE).then(
      async () => {
        const vote = await branch.vote()
        return vote.kind === 'refused' ? vote.refusal : assert.fail(`voted ${vote.kind}`)
      },
      // What cannot travel with the vote has run before it.
      (cause: unknown) => cause as Refusal,
    )
    assert.equal(refusal.code, 'STATEMENT_FAILED')
    assert.match(String(refusal.cause), /duplicate/i)
    assert.equal(refusal.retryable, false)
    assert.equal(await listed(opened, branch), false)
    assert.deepEqual(await branch.rollback(), { kind: 'answered' })
    assert.deepEqual(await ids(other), [2])
    assert.equal(opened.pool().total, 1, 'its connection went back')
  }),
  ...everyWay('is unknown when the answer to the vote is lost', async (stage) => {
    const { opened, other, harness } = stage
    const branch = branchOf(opened)
    await give(branch, [INSERT, READ], VOTE)
    opened.proxy.cut(harness.verbs.prepare, 'after')
    assert.equal((await branch.vote()).kind, 'unknown')
    await opened.proxy.cutDone()
    assert.deepEqual(await branch.rollback(), { kind: 'answered' })
    assert.equal(await listed(opened, branch), false)
    assert.deepEqual(await ids(other), [])
  }),
  ...everyWay('is unknown when the vote never arrived', async ({ opened, other, harness }) => {
    const branch = branchOf(opened)
    await give(branch, [INSERT, READ], VOTE)
    opened.proxy.cut(harness.verbs.prepare, 'before')
    assert.equal((await branch.vote()).kind, 'unknown')
    await branch.rollback()
    assert.equal((await opened.participant.settle(xidOf(branch), 'abort')).kind, 'absent')
    assert.deepEqual(await ids(other), [])
  }),
  ...everyWay('commits in one phase all the same', async ({ opened, other, harness }) => {
    const branch = branchOf(opened)
    const answers = await give(branch, [INSERT, READ], VOTE)
    assert.equal(branch.seal(sealed), undefined)
    const { markers } = await opened.participant.contact()
    assert.deepEqual(await branch.commitOnePhase(true), { kind: 'committed', marker: markers })
    assert.equal(harness.rowsOf(answers()[1]).length, 1)
    assert.deepEqual(await ids(other), [1])
  }),
]

const atOnce: readonly ContractCase[] = [
  ...everyWay('runs now, and commits in one phase', async ({ opened, other, harness }) => {
    const branch = branchOf(opened)
    const answers = await give(branch, [INSERT, READ], 'now')
    assert.equal(harness.rowsOf(answers()[1]).length, 1)
    assert.deepEqual(await ids(other), [])
    assert.equal(branch.seal(sealed), undefined)
    assert.equal(await branch.probe(), 'wrote')
    const { markers } = await opened.participant.contact()
    assert.deepEqual(await branch.commitOnePhase(true), { kind: 'committed', marker: markers })
    assert.deepEqual(await ids(other), [1])
  }),
  ...everyWay('runs now, and throws what fails', async ({ opened, other }) => {
    const branch = branchOf(opened)
    await assert.rejects(give(branch, [INSERT, INSERT, SECOND], 'now'), {
      code: 'STATEMENT_FAILED',
      outcome: 'rolled-back',
      retryable: false,
    })
    assert.deepEqual(await branch.rollback(), { kind: 'answered' })
    assert.deepEqual(await ids(other), [])
    assert.equal(opened.pool().total, 1, 'its connection went back')
  }),
  ...everyWay('ends a declared read-only branch', async ({ opened, other, harness }) => {
    await other.run(INSERT)
    const branch = branchOf(opened, { readOnly: true })
    const answers = await give(branch, [READ], 'now')
    assert.equal(harness.rowsOf(answers()[0]).length, 1)
    assert.equal(branch.seal(sealed), undefined)
    assert.equal(await branch.probe(), 'read-only')
    assert.deepEqual(await branch.commitOnePhase(false), { kind: 'committed', marker: false })
    const writer = branchOf(opened, { readOnly: true })
    await assert.rejects(give(writer, [SECOND], 'now'), { code: 'STATEMENT_FAILED' })
    assert.deepEqual(await writer.rollback(), { kind: 'answered' })
    assert.deepEqual(await ids(other), [1])
  }),
]

const refusals: readonly ContractCase[] = [
  merged(
    'given in advance is no transaction control, nor several in one',
    async ({ opened, harness }) => {
      const control = [...harness.control, 'SAVEPOINT one', 'ROLLBACK TO SAVEPOINT one']
      const others = [
        '',
        ' \n',
        '-- nothing\n',
        '/* nothing */;',
        'SELECT 1; SELECT 2',
        'SELECT 1;COMMIT',
      ]
      for (const [code, texts] of [
        ['TRANSACTION_CONTROL', control],
        ['INVALID_OPTION', others],
      ] as const) {
        for (const text of texts) {
          const branch = branchOf(opened)
          const given = give(branch, [INSERT, text], VOTE)
          await assert.rejects(given, { code, outcome: 'rolled-back' }, text)
          assert.equal(branch.enlisted, false, text)
        }
      }
      assert.equal(opened.pool().total, 0)
    },
  ),
  merged('given in advance takes no other statement', async ({ opened, other }) => {
    for (const when of [VOTE, 'now'] as const) {
      const branch = branchOf(opened)
      await give(branch, [INSERT], when)
      await assert.rejects(opened.run(branch, SECOND), /takes no further statement/)
      await assert.rejects(give(branch, [SECOND], when), /takes no further statement/)
      assert.deepEqual(await branch.rollback(), { kind: 'answered' })
    }
    assert.deepEqual(await ids(other), [])
  }),
  merged('given in advance may end in a comment or a semicolon', async ({ opened, other }) => {
    const branch = branchOf(opened)
    await give(branch, [`${INSERT} -- first`, `${SECOND};`, 'SELECT 1 /* last */ ;'], VOTE)
    evidenceOf(await branch.vote())
    assert.deepEqual(await branch.commit(), { kind: 'answered' })
    assert.deepEqual(await ids(other), [1, 2])
  }),
  merged(
    'given in advance is retryable after a wait for a lock',
    (stage) =>
      besideLock(stage, async () => {
        const { opened, other } = stage
        const branch = branchOf(opened)
        await give(branch, [INSERT, WAITS], VOTE)
        const vote = await branch.vote()
        assert.ok(vote.kind === 'refused', `voted ${vote.kind}`)
        assert.deepEqual([vote.refusal.code, vote.refusal.retryable], ['STATEMENT_FAILED', true])
        assert.deepEqual(await branch.rollback(), { kind: 'answered' })
        assert.deepEqual(await ids(other), [5])
      }),
    { lockTimeoutMs: 1_000 },
  ),
]

const waits: readonly ContractCase[] = [
  ...[VOTE, 'now' as const].map((when) =>
    merged(
      `given in advance may take longer than a verb (${when})`,
      (stage) =>
        besideLock(stage, async (unlock) => {
          const branch = branchOf(stage.opened)
          const voted = give(branch, [WAITS], when).then(() => branch.vote())
          await pause(900)
          unlock()
          evidenceOf(await voted)
          assert.deepEqual(await branch.commit(), { kind: 'answered' })
        }),
      { answerMs: 500 },
    ),
  ),
  merged(
    'T4: what is given in advance is fenced when it is rolled back while it waits, and never appears',
    (stage) =>
      besideLock(stage, async (unlock) => {
        const { opened, other } = stage
        const branch = branchOf(opened)
        await give(branch, [INSERT, WAITS], VOTE)
        const voting = branch.vote()
        await pause(200)
        const startedAt = systemClock.monotonic()
        assert.deepEqual(await branch.rollback(), { kind: 'answered' })
        assert.notEqual((await voting).kind, 'prepared')
        await other.run('INSERT INTO item VALUES (1, 9)')
        const tookMs = systemClock.monotonic() - startedAt
        assert.ok(tookMs < AT_ONCE_MS, `its locks were there for ${tookMs} ms`)
        unlock()
        await pause(1_500)
        assert.equal(await listed(opened, branch), false)
        assert.deepEqual(await ids(other), [1, 5])
      }),
  ),
  merged(
    'T4: what is given in advance appears after its client died, and a sweep finds it',
    (stage) =>
      besideLock(stage, async (unlock) => {
        const { opened, other } = stage
        const branch = branchOf(opened)
        await give(branch, [INSERT, WAITS], VOTE)
        const voting = branch.vote()
        await pause(200)
        branch.abandon()
        assert.equal((await voting).kind, 'unknown')
        assert.equal(await listed(opened, branch), false, 'nothing yet')
        unlock()
        await eventually('the zombie appears', () => listed(opened, branch))
        const settled = await opened.participant.settle(xidOf(branch), 'abort')
        assert.deepEqual(settled, { kind: 'answered' })
        assert.deepEqual(await ids(other), [5])
      }),
  ),
  merged(
    'T4: what is given in advance is cancelled when it runs now and is rolled back, and keeps its connection',
    (stage) =>
      besideLock(stage, async () => {
        const { opened, other } = stage
        const branch = branchOf(opened)
        const heard = assert.rejects(give(branch, [INSERT, WAITS], 'now'))
        await pause(200)
        const startedAt = systemClock.monotonic()
        assert.deepEqual(await branch.rollback(), { kind: 'answered' })
        const tookMs = systemClock.monotonic() - startedAt
        assert.ok(tookMs < AT_ONCE_MS, `rolled back after ${tookMs} ms`)
        await heard
        await other.run(INSERT)
        assert.deepEqual([opened.pool().total, opened.pool().idle], [1, 1])
      }),
    { poolSize: 1 },
  ),
  ...[VOTE, 'now' as const].map((when) =>
    merged(
      `given in advance keeps nobody for ever when its answer is lost on a connection that stays open (${when})`,
      async ({ opened, other }) => {
        const branch = branchOf(opened)
        const never = new Promise<'pass'>(() => undefined)
        opened.proxy.halt({ text: 'VALUES (1, 1)', when: 'answered', act: () => never })
        const startedAt = systemClock.monotonic()
        if (when === 'now') await assert.rejects(give(branch, [INSERT], when))
        else {
          await give(branch, [INSERT], when)
          assert.equal((await branch.vote()).kind, 'unknown')
        }
        const tookMs = systemClock.monotonic() - startedAt
        assert.ok(tookMs > 700 && tookMs < 4_000, `gave up after ${tookMs} ms`)
        assert.deepEqual(await branch.rollback(), { kind: 'answered' })
        assert.equal(await listed(opened, branch), false)
        assert.deepEqual(await ids(other), [])
      },
      { answerMs: 400 },
    ),
  ),
  merged('given in advance is refused when its connection dies while it runs now', (stage) =>
    besideLock(stage, async () => {
      const { opened, other } = stage
      const branch = branchOf(opened)
      const lost = { code: 'CONNECTION_LOST', retryable: true }
      const heard = assert.rejects(give(branch, [INSERT, WAITS], 'now'), lost)
      await pause(200)
      opened.proxy.dropAll()
      await heard
      assert.deepEqual(await branch.rollback(), { kind: 'answered' })
      await other.run(INSERT)
    }),
  ),
]

export const given: readonly ContractCase[] = [...votes, ...atOnce, ...refusals, ...waits]
