/**
 * Deliberate mistakes in the protocol. Each is caught by the simulator, or by the unit test that is
 * named with it where the simulator cannot see it: another server under a name, what an operator
 * would read.
 *
 * `rule` is that of DESIGN's twelve, `log` for what only the log's own invariants forbid, or `given` for
 * what statements given in advance are promised.
 */
import type { Mutant } from '../support/mutation.ts'

export interface ProtocolMutant extends Mutant {
  readonly rule: string
  /** A second place, where one alone would be made good by another. */
  readonly also?: Omit<Mutant, 'name'>
  /** Test file and the beginning of a title. */
  readonly test?: readonly [string, string]
}

const TWO_PHASE = 'commit/two-phase.ts'
const EXECUTE = 'commit/execute.ts'
const REGISTER = 'log/file-decision-log.ts'
const WRITER = 'log/log-writer.ts'
const STORE = 'log/segment-store.ts'
const SETTLE = 'participant/settle.ts'
const PASS = 'recovery/pass.ts'
const SIBLINGS = 'coordinator/siblings.ts'
const PLAN = 'protocol/resolution.ts'
const UNIT = {
  run: 'test/unit/commit/run.test.ts',
  pass: 'test/unit/recovery/pass.test.ts',
  settle: 'test/unit/participant/settle.test.ts',
  loop: 'test/unit/recovery/loop.test.ts',
  databases: 'test/unit/protocol/from-databases.test.ts',
}

export const MUTANTS: readonly ProtocolMutant[] = [
  {
    rule: '1',
    name: 'commits while the record is still on its way to the disk',
    file: TWO_PHASE,
    find: '    decided = await context.waits.force.within(force)\n',
    replace: "    decided = 'commit'\n",
  },
  {
    rule: '1',
    name: 'decides nothing in the log, and commits',
    file: TWO_PHASE,
    find: '  const force = context.log.decide(commitRecord(context, tx, prepared))',
    replace: "  const force = Promise.resolve('commit' as const)",
  },
  {
    rule: '1',
    name: 'answers before the batch is durable',
    file: WRITER,
    find: '    await this.#store.force(frame.bytes, frame.digest)\n',
    replace:
      '    for (const entry of batch) entry.onDurable()\n    await this.#store.force(frame.bytes, frame.digest)\n',
  },
  {
    rule: '1',
    name: 'does not sync a batch',
    file: STORE,
    find: '    await this.#file.sync()\n',
    replace: '',
  },
  {
    rule: '1',
    name: 'answers those who wait for the next batch with this one',
    file: WRITER,
    find: '    for (const entry of batch) entry.onDurable()\n',
    replace:
      '    for (const entry of batch) entry.onDurable()\n    for (const entry of this.#urgent) entry.onDurable()\n',
  },
  {
    rule: '1',
    name: 'rolls back although the record is on its way',
    file: REGISTER,
    find: '    if (register.decision === undefined) {',
    replace: "    if (register.decision === undefined || register.value === 'handed-over') {",
    also: {
      file: TWO_PHASE,
      find: '    finishBehind(context, tx, prepared, force)\n',
      replace: "    force.catch(() => undefined)\n    tx.move('aborting')\n",
    },
  },
  {
    rule: '1',
    name: 'calls a late force an abort',
    file: TWO_PHASE,
    find: '    finishBehind(context, tx, prepared, force)\n',
    replace:
      "    for (const { branch } of prepared) await branch.rollback()\n    finishBehind(context, tx, prepared, force)\n    throw new TransactionError('ROLLED_BACK', 'late', { outcome: 'rolled-back', gtrid: tx.gtrid })\n",
  },
  {
    rule: '2',
    name: 'rolls the branches back when the force failed',
    file: TWO_PHASE,
    find: '    branch.abandon()\n    // Nobody',
    replace: '    branch.rollback().catch(() => undefined)\n    // Nobody',
  },
  {
    rule: '2',
    name: 'commits the branches when the force failed',
    file: TWO_PHASE,
    find: '    branch.abandon()\n    // Nobody',
    replace: '    branch.commit().catch(() => undefined)\n    // Nobody',
  },
  {
    rule: '2',
    name: 'tells the caller rolled-back when the force failed',
    file: TWO_PHASE,
    find: "    throw inDoubt(tx, prepared, 'DECISION_IN_DOUBT', 'the commit record could not be forced', {",
    replace:
      "    throw new TransactionError('ROLLED_BACK', 'the force failed', { outcome: 'rolled-back', gtrid: tx.gtrid,",
  },
  {
    rule: '2',
    name: 'syncs again after a failed sync',
    file: STORE,
    find: '    await this.#file.sync()\n',
    replace: '    await this.#file.sync().catch(() => this.#file?.sync())\n',
  },
  {
    rule: '2',
    name: 'takes no notice of a failed sync',
    file: STORE,
    find: '    await this.#file.sync()\n',
    replace: '    await this.#file.sync().catch(() => undefined)\n',
  },
  {
    rule: '2',
    name: 'decides on after a failed write',
    file: WRITER,
    find: '    this.#poison = cause\n    this.#lazyTimer?.clear()',
    replace: '    this.#lazyTimer?.clear()',
  },
  {
    rule: '2',
    name: 'recovery settles on after a failed write',
    file: PASS,
    find: 'if (log.poison === undefined) await work(item)',
    replace: 'await work(item)',
    test: [UNIT.pass, 'rule 2: settles nothing once the log is poisoned'],
  },
  {
    rule: '2',
    name: 'the live path settles on after a failed write',
    file: TWO_PHASE,
    find: '      if (context.log.poison !== undefined) return branch.abandon()\n',
    replace: '',
    test: [UNIT.run, 'rule 2: settles nothing after the log was poisoned'],
  },
  {
    rule: '2',
    name: 'forgets the register of a force that failed',
    file: REGISTER,
    find: "    if (value === 'handed-over') return\n",
    replace: '',
    test: ['test/unit/log/file-decision-log.test.ts', 'rejects all who wait, for good'],
  },
  {
    rule: '3',
    name: 'takes a lost vote for prepared',
    file: TWO_PHASE,
    find: '() => branch.vote()',
    replace:
      "async () => {\n    const vote = await branch.vote()\n    return vote.kind === 'unknown' ? { kind: 'prepared', evidence: { server: { server: 'lost', startedAtMs: 0 }, marker: true } } : vote\n  }",
  },
  {
    rule: '3',
    name: 'takes a refused vote for prepared',
    file: TWO_PHASE,
    find: '() => branch.vote()',
    replace:
      "async () => {\n    const vote = await branch.vote()\n    return vote.kind === 'refused' ? { kind: 'prepared', evidence: { server: { server: 'none', startedAtMs: 0 }, marker: true } } : vote\n  }",
  },
  {
    rule: '3',
    name: 'takes a lost answer to a commit for committed',
    file: SETTLE,
    find: "      case 'later':\n      case 'unknown':\n        return undefined\n      case 'other-server'",
    replace:
      "      case 'later':\n      case 'unknown':\n        return 'committed'\n      case 'other-server'",
  },
  {
    rule: '3',
    name: 'takes a lost answer in one phase for committed',
    file: 'commit/one-phase.ts',
    find: "  const known = answer.kind === 'unknown' ? await proveAnswer(context, branch, answer) : answer",
    replace:
      "  const known = answer.kind === 'unknown' ? ({ kind: 'committed', marker: false } as const) : answer",
  },
  {
    rule: '3',
    name: 'takes a lost answer in one phase for rolled back',
    file: 'commit/one-phase.ts',
    find: "  const known = answer.kind === 'unknown' ? await proveAnswer(context, branch, answer) : answer",
    replace:
      "  const known = answer.kind === 'unknown' ? ({ kind: 'refused', refusal: { code: 'CONNECTION_LOST', reason: 'lost', retryable: true } } as const) : answer",
  },
  {
    rule: '4',
    name: 'takes an absent branch for committed',
    file: SETTLE,
    find: '        return this.proveAbsent(participant, xid, evidence)',
    replace: "        return 'committed'",
    also: {
      file: PASS,
      find: '    answer = await context.settlements.proveAbsent(participant, xid, record)',
      replace: "    answer = 'committed'",
    },
  },
  {
    rule: '4',
    name: 'takes the proof of a roll-back for nothing',
    file: SETTLE,
    find: "        return 'heuristic-rollback'",
    replace: "        return 'committed-unproven'",
  },
  {
    rule: '4',
    name: 'takes an absence without proof after a restart for committed',
    file: SETTLE,
    find: "        return proof.life === 'same' ? 'committed-unproven' : 'heuristic-hazard'",
    replace: "        return 'committed-unproven'",
    test: [UNIT.run, 'reports an unprovable absence after a restart as a hazard'],
  },
  {
    rule: '4',
    name: 'takes an absence without proof for a hazard in any life of the server',
    file: SETTLE,
    find: "        return proof.life === 'same' ? 'committed-unproven' : 'heuristic-hazard'",
    replace: "        return 'heuristic-hazard'",
  },
  {
    rule: '4',
    name: 'takes the answer of another server',
    file: SETTLE,
    find: "        if (proof.life === 'other-server') return this.#notAnswered(participant.name, xid)\n",
    replace: '',
    test: [UNIT.run, 'takes no answer from another server'],
  },
  {
    rule: '5',
    name: 'looks for live transactions before it lists',
    file: PASS,
    find: '  const live = context.live.snapshot()\n  return resolve({',
    replace: '  const live = before\n  return resolve({',
  },
  {
    rule: '5',
    name: 'reads decisions before it lists',
    file: PASS,
    find: '    decision: (gtrid) => log.find(gtrid),',
    replace: '    decision: (gtrid) => decided.get(gtrid),',
    also: {
      file: PASS,
      find: '  const before = context.live.snapshot()\n',
      replace:
        '  const before = context.live.snapshot()\n  const decided = new Map(log.pending().map((each) => [each.record.gtrid, each]))\n',
    },
    test: [
      UNIT.pass,
      'rule 5: a transaction that decides while the list is on its way is not taken for abandoned',
    ],
  },
  {
    rule: '5',
    name: 'a transaction is live only for itself',
    file: 'participant/live.ts',
    find: '    this.#transactions.set(gtrid, transaction)\n',
    replace: '',
  },
  {
    rule: '5',
    name: 'a transaction is live no more while its record is forced',
    file: TWO_PHASE,
    find: "  tx.proceed('deciding')\n",
    replace: "  tx.proceed('deciding')\n  context.live.leave(tx.gtrid)\n",
  },
  {
    rule: '5',
    name: 'reads an absence against what was decided after the list',
    file: PASS,
    find: "  await context.failpoints('recover:listed')\n",
    replace:
      '  await context.failpoints("recover:listed")\n  for (const each of log.pending()) if (!settleable.includes(each)) settleable.push(each)\n',
    test: [
      UNIT.pass,
      'rule 5: an absence is read only against decisions that were pending before the list',
    ],
  },
  {
    rule: '5',
    name: 'settles the branches of live transactions',
    file: PLAN,
    find: "  if (seen.live.has(xid.gtrid)) return { kind: 'live', branch, xid }\n",
    replace: '',
  },
  {
    rule: '6',
    name: 'ends recovery when it found nothing',
    file: 'recovery/loop.ts',
    find: '      if (clean) this.#resolveClean()\n',
    replace: '      if (clean) {\n        this.#resolveClean()\n        return\n      }\n',
  },
  {
    rule: '7',
    name: 'ends a decision at its first answer',
    file: SETTLE,
    find: "answers.size < branches.length || conclude(answersOf(open)) !== 'committed') return",
    replace: "!answersOf(open).includes('committed')) return",
    also: {
      file: REGISTER,
      find: "answer === 'committed' || answer === 'committed-unproven'\n",
      replace: 'answer !== null\n',
    },
  },
  {
    rule: '7',
    name: 'ends a decision of which one branch gave no answer',
    file: 'protocol/outcome.ts',
    find: "  return answers.includes(undefined) ? 'unfinished' : 'committed'",
    replace: "  return 'committed'",
  },
  {
    rule: '7',
    name: 'drops an answer that is not the first',
    file: SETTLE,
    find: '    if (open === undefined || open.answers.has(bqual)) return\n',
    replace:
      '    if (open === undefined || open.answers.has(bqual) || open.answers.size > 0) return\n',
  },
  {
    rule: '7',
    name: 'collects markers before the end is durable',
    file: SETTLE,
    find: '    this.#log.end(gtrid).then(\n',
    replace:
      '    this.#ended(gtrid, marked.map((branch) => branch.participant))\n    this.#log.end(gtrid).then(\n',
    test: [UNIT.settle, 'free the markers only when the end is durable'],
  },
  {
    rule: '7',
    name: 'sweeps the markers of decisions that are needed',
    file: 'recovery/marker-sweep.ts',
    find: '        !context.settlements.isNeeded(gtrid) &&\n        context.log.find(gtrid) === undefined,',
    replace: '        true,',
    test: [
      'test/unit/recovery/marker-sweep.test.ts',
      'keeps the markers of what is live, decided, or ended but not durably',
    ],
  },
  {
    rule: '7',
    name: 'never forces what is lazy by itself',
    file: WRITER,
    find: '      this.#lazyDue = true\n      this.#wake()\n    })',
    replace: '    })',
  },
  {
    rule: '7',
    name: 'answers a lazy record before it is durable',
    file: WRITER,
    find: "    const queue = urgency === 'urgent' ? this.#urgent : this.#lazy\n",
    replace:
      "    if (urgency === 'lazy') entry.onDurable()\n    const queue = urgency === 'urgent' ? this.#urgent : this.#lazy\n",
    test: ['test/unit/log/file-decision-log.test.ts', 'ends only after every branch answered'],
  },
  {
    rule: '7',
    name: 'a checkpoint forgets the newest decision',
    file: 'log/log-state.ts',
    find: '    for (const { record, answers, answeredAtMs } of this.#pending.values()) {',
    replace:
      '    for (const { record, answers, answeredAtMs } of [...this.#pending.values()].slice(0, -1)) {',
  },
  {
    rule: '8',
    name: 'waits for ever for a participant at first contact',
    file: 'recovery/first-contact.ts',
    find: '    within(clock, limitMs, meet(participant, log)),',
    replace: '    meet(participant, log),',
  },
  {
    rule: '8',
    name: 'recovery ends with the first participant that is down',
    file: 'recovery/loop.ts',
    find: '      this.#seen(false, cause)\n      return undefined\n',
    replace: '      this.#seen(false, cause)\n      throw cause\n',
  },
  {
    rule: '8',
    name: 'a start waits until everything is recovered',
    file: 'coordinator.ts',
    find: 'const clean = within(seams.clock, recoverMs, recovery.clean(answered))',
    replace: 'const clean = recovery.clean(answered)',
  },
  {
    rule: '9',
    name: 'whoever holds nothing takes the last seat',
    file: 'participant/seats.ts',
    find: '      if (other !== pool && other.seated >= other.size) return false\n',
    replace: '',
    test: ['test/unit/participant/seats.test.ts', 'of two pools are never all taken'],
  },
  {
    rule: '9',
    name: 'whoever holds a connection waits for another to its deadline',
    file: 'commit/transaction.ts',
    find: 'Math.min(acquireMs, leftMs)',
    replace: 'Math.max(acquireMs, leftMs)',
    test: [UNIT.run, 'rule 9: whoever holds a connection waits for another only so long'],
  },
  {
    rule: '10',
    name: 'a deadline turns a handed-over commit back',
    file: 'protocol/transaction-state.ts',
    find: "export const ABORTABLE: readonly TransactionState[] = ['active', 'preparing']",
    replace:
      "export const ABORTABLE: readonly TransactionState[] = ['active', 'preparing', 'deciding']",
    also: {
      file: 'commit/transaction.ts',
      find: '    this.#timer?.clear()\n    this.#unfollow()\n',
      replace: '',
    },
  },
  {
    rule: '10',
    name: 'a caller waits for a force for ever',
    file: TWO_PHASE,
    find: 'await context.waits.force.within(force)\n',
    replace: 'await force\n',
  },
  {
    rule: '10',
    name: 'leaves the decision alone whose force was late',
    file: TWO_PHASE,
    find: '        return phaseTwo(context, tx, prepared)\n',
    replace: '        return undefined\n',
    test: [UNIT.run, 'rule 10: answers in-doubt when the force is late'],
  },
  {
    rule: '11',
    name: 'takes a directory without its segments for a new log',
    file: 'log/directory.ts',
    find: '    if (names.includes(SPARE_NAME)) {',
    replace: "    if (names.includes('never')) {",
    test: ['test/unit/log/open-log.test.ts', ''],
  },
  {
    rule: '11',
    name: 'stops at the first bad frame',
    file: 'log/replay.ts',
    find: '    if (later !== undefined && later.batch >= batch) {',
    replace: '    if (later !== undefined && later.batch < 0) {',
    test: ['test/unit/log/replay.test.ts', ''],
  },
  {
    rule: '12',
    name: 'rolls branches back before the register holds the abort',
    file: 'commit/abort.ts',
    find: '  const decided = await context.log.abort(tx.gtrid)\n',
    replace:
      '  await Promise.all(tx.enlisted.map((branch) => branch.rollback()))\n  const decided = await context.log.abort(tx.gtrid)\n',
    test: [UNIT.run, 'rule 12: the register holds the abort before any branch is rolled back'],
  },
  {
    rule: '12',
    name: 'a commit after an abort wins',
    file: REGISTER,
    find: '    if (register.decision !== undefined) return register.decision\n    try {',
    replace: '    try {',
    test: [
      'test/unit/log/file-decision-log.test.ts',
      'keeps an abort while the transaction is live',
    ],
  },
  {
    rule: '12',
    name: 'resolves a branch against its logged decision',
    file: PLAN,
    find: "  if (decision === undefined) return { kind: 'rollback', branch, xid }\n",
    replace: "  if (decision !== null) return { kind: 'rollback', branch, xid }\n",
  },
  {
    rule: '1',
    name: 'presumes commit',
    file: PLAN,
    find: "  if (decision === undefined) return { kind: 'rollback', branch, xid }\n",
    replace:
      "  if (decision === undefined) return { kind: 'commit', branch, xid, record: { participant, bqual: xid.bqual, server: { server: '', startedAtMs: 0 }, marker: false } }\n",
  },
  {
    rule: '5',
    name: 'rolls the branches of other logs back',
    file: PLAN,
    find: "  if (gtrid.logId !== seen.logId) return { kind: 'orphan', branch, why: 'another log' }\n",
    replace: "  if (gtrid.logId !== seen.logId) return { kind: 'rollback', branch, xid }\n",
  },
  {
    rule: '5',
    name: 'takes a branch of an incarnation that the log never had for its own',
    file: PLAN,
    find: "  if (standing === 'alien') return { kind: 'copy', branch, xid }\n",
    replace: '',
    test: [UNIT.pass, 'stops deciding when a branch proves that the log is a copy'],
  },
  {
    rule: '5',
    name: 'rolls back what the log has forgotten the incarnation of',
    file: PLAN,
    find: "  if (standing === 'forgotten' && seen.decision(xid.gtrid) === undefined) {",
    replace: "  if (standing === 'forgotten' && seen.logId === '') {",
    test: [UNIT.pass, 'commits what a copy had logged before it was taken over'],
  },
  {
    rule: '5',
    name: 'settles the branch of a participant that shares the database',
    file: PLAN,
    find: '  if (participant !== seen.participant) {',
    replace: "  if (participant === '') {",
    test: [UNIT.pass, 'leaves the branch of a participant that shares the database'],
  },
  {
    rule: '1',
    name: 'commits in one phase beside another writer',
    file: 'commit/run.ts',
    find: 'else if (second === undefined) await commitInOnePhase(context, tx, only)',
    replace: 'else if (second !== null) await commitInOnePhase(context, tx, only)',
  },
  {
    rule: '1',
    name: 'takes a writer for a reader',
    file: 'commit/run.ts',
    find: "    return answer === 'wrote'\n",
    replace: "    return answer === 'wrote' && at > 0\n",
  },
  {
    rule: '2',
    name: 'retries what is in doubt',
    file: 'commit/retry.ts',
    find: "  return error.outcome === 'rolled-back' && error.retryable",
    replace: "  return error.outcome !== 'heuristic'",
  },
  {
    rule: '10',
    name: 'tells hooks of a commit that is in doubt',
    file: 'commit/hooks.ts',
    find: '(on === outcome ? [hook] : [])',
    replace: "(on === outcome || (on === 'committed' && outcome === 'in-doubt') ? [hook] : [])",
  },
  {
    rule: '4',
    name: 'resolves before one database is known to have committed',
    file: TWO_PHASE,
    find: "  if (conclusion === 'unfinished' && !known && isMarked(prepared)) {",
    replace:
      "  if (conclusion === 'unfinished' && !known && isMarked(prepared) && tx.gtrid === '') {",
  },
  {
    rule: '4',
    name: 'settles behind what carries markers',
    file: TWO_PHASE,
    find: "  const behind = tx.options.settle === 'behind' && !isMarked(prepared)\n",
    replace: "  const behind = tx.options.settle === 'behind'\n",
  },
  {
    rule: '4',
    name: 'announces nobody to anybody',
    file: TWO_PHASE,
    find: '  if (toldEach !== undefined) await announce(tx, toldEach)\n',
    replace: '',
  },
  {
    rule: '4',
    name: 'names each participant to itself alone',
    file: 'participant/announcements.ts',
    find: '        (one) => this.#name(one, names),',
    replace: '        (one) => this.#name(one, [one.name]),',
    test: ['test/unit/participant/announcements.test.ts', 'each names itself first, then all'],
  },
  {
    rule: '4',
    name: 'without the log: rolls back what one database has committed',
    file: 'protocol/from-databases.ts',
    find: '  if (committedIn.length > 0) {',
    replace: '  if (committedIn.length > 9) {',
  },
  {
    rule: '4',
    name: 'without the log: rolls back without the word of an operator',
    file: 'protocol/from-databases.ts',
    find: "    ...(seen.dead.has(logId) ? [] : [{ kind: 'no-word', logId } as const]),\n",
    replace: '',
    test: [UNIT.databases, 'without the word nothing at all is rolled back'],
  },
  {
    rule: '4',
    name: 'without the log: does not mind who is silent',
    file: 'protocol/from-databases.ts',
    find: "    if (testimony === undefined) return [{ kind: 'silent', participant }]\n",
    replace: '    if (testimony === undefined) return []\n',
    test: [UNIT.databases, 'agrees with the rule in all'],
  },
  {
    rule: 'log',
    name: 'a new segment gets its name before it is durable',
    file: STORE,
    find: '      await file.sync()\n      await failpoints',
    replace: '      await failpoints',
  },
  {
    rule: 'log',
    name: 'does not sync the directory',
    file: STORE,
    find: '      await files.syncDirectory(this.#directory)\n',
    replace: '',
  },
  {
    rule: 'log',
    name: 'makes a spare beside a first segment whose name is not durable',
    file: STORE,
    find: '    if (!isNew) await this.#seams.files.syncDirectory(this.#directory)\n',
    replace: '',
    test: [
      'test/unit/log/open-log.test.ts',
      'no spare outlives a first segment whose name was not durable',
    ],
  },
  {
    rule: 'log',
    name: 'answers although its file has lost its name',
    file: WRITER,
    find: '    await looked\n',
    replace: '',
    test: ['test/unit/log/file-decision-log.test.ts', 'answers nobody any more'],
  },
  {
    rule: 'log',
    name: 'the state runs ahead of the disk',
    file: WRITER,
    find: '    await this.#store.force(frame.bytes, frame.digest)\n',
    replace:
      '    for (const entry of batch) this.#state.apply(entry.record, entry.bytes)\n    await this.#store.force(frame.bytes, frame.digest)\n',
    also: {
      file: WRITER,
      find: '    for (const entry of batch) this.#state.apply(entry.record, entry.bytes)\n    this.#batch = []\n',
      replace: '    this.#batch = []\n',
    },
    test: ['test/unit/log/file-decision-log.test.ts', 'rejects all who wait, for good'],
  },
  {
    rule: 'log',
    name: 'does not record its incarnation',
    file: 'log/open-log.ts',
    find: 'await rewrite(this.#settings, this.#seams, this.#loaded, [open])',
    replace: 'await rewrite(this.#settings, this.#seams, this.#loaded, [])',
  },
  {
    rule: 'log',
    name: 'two processes own one log',
    file: 'log/log-lock.ts',
    find: "while (!(await file.lock('exclusive'))) {",
    replace: 'while (deadline < 0) {',
  },
  {
    rule: '6',
    name: 'nobody looks after a dead sibling',
    file: SIBLINGS,
    find: '    this.#round = this.visit()\n',
    replace: '',
  },
  {
    rule: 'log',
    name: 'recovers a sibling whose lock it has let go',
    file: SIBLINGS,
    find: '    if (log === undefined) return false\n    try {\n',
    replace: '    if (log === undefined) return false\n    await log.close()\n    try {\n',
  },
  {
    rule: 'log',
    name: 'a copied directory is taken for the original',
    file: 'log/log-lock.ts',
    find: "  return same ? 'own' : 'copied'",
    replace: "  return same || !same ? 'own' : 'copied'",
    test: ['test/unit/log/log-lock.test.ts', 'is told from its copy'],
  },
  {
    rule: 'log',
    name: 'cuts a tail before its copy is durable',
    file: 'log/open-log.ts',
    find: '    await file.sync()\n',
    replace: '',
  },
  {
    rule: 'log',
    name: 'cuts a tail before the name of its copy is durable',
    file: 'log/open-log.ts',
    find: '  await files.syncDirectory(directory)\n',
    replace: '',
  },
  {
    rule: 'log',
    name: 'cuts a tail and tells nobody',
    file: 'log/open-log.ts',
    find: "  seams.onEvent({ kind: 'tail-cut', file: newest.path, offset, bytes, copy })\n",
    replace: '',
    test: ['test/unit/log/open-log.test.ts', 'cuts a torn batch, keeps a copy of it and says so'],
  },
  {
    rule: '7',
    name: 'takes what has ended for pending when the log is opened again',
    file: 'log/replay.ts',
    find: '      state.apply(record, bytes, offset)\n',
    replace: "      if (record.type !== 'end') state.apply(record, bytes, offset)\n",
  },
  {
    rule: 'given',
    name: 'gives the statements of the last participant to nobody',
    file: EXECUTE,
    find: '    const giving = [...groups].map(',
    replace: '    const giving = [...groups].slice(0, -1).map(',
  },
  {
    rule: 'given',
    name: 'answers with what another participant said',
    file: EXECUTE,
    find: 'of [...groups.values()].entries()',
    replace: 'of [...groups.values()].reverse().entries()',
  },
  {
    rule: 'given',
    name: 'has a transaction for each participant',
    file: EXECUTE,
    find: `  const given = await Running.run(context, options, (_, tx) => {
    const giving = [...groups].map(([name, group]): Promise<GivenAnswers> => {
      const votes = writers.length > 1 && writers.includes(name)
      return tx.branch(name).give(
        group.map(({ statement }) => statement),
        votes ? 'with the vote' : 'now',
      )
    })
    return Promise.all(giving)
  })
`,
    replace: `  const given = await Promise.all(
    [...groups].map(([name, group]) =>
      Running.run(context, options, (_, tx) =>
        tx.branch(name).give(
          group.map(({ statement }) => statement),
          'now',
        ),
      ),
    ),
  )
`,
  },
]
