/** Deliberate mistakes in the log. Each must be caught, by a suite that does not know of it. */
import type { Mutant } from '../support/mutation.ts'

export const MUTANTS: readonly Mutant[] = [
  {
    name: 'reply before sync',
    file: 'log-writer.ts',
    find: '    await this.#store.force(frame.bytes, frame.digest)\n',
    replace:
      '    for (const entry of batch) entry.onDurable()\n    await this.#store.force(frame.bytes, frame.digest)\n',
  },
  {
    name: 'no sync of a batch',
    file: 'segment-store.ts',
    find: '    await this.#file.sync()\n',
    replace: '',
  },
  {
    name: 'retry after a failed fsync',
    file: 'segment-store.ts',
    find: '    await this.#file.sync()\n',
    replace: '    await this.#file.sync().catch(() => this.#file?.sync())\n',
  },
  {
    name: 'a failed fsync is swallowed',
    file: 'segment-store.ts',
    find: '    await this.#file.sync()\n',
    replace: '    await this.#file.sync().catch(() => undefined)\n',
  },
  {
    name: 'no sync of a new segment before it gets its name (act before durable again)',
    file: 'segment-store.ts',
    find: '      await file.sync()\n      await failpoints',
    replace: '      await failpoints',
  },
  {
    name: 'no sync of blank pages',
    file: 'segment-store.ts',
    find: '        await file.sync()\n      }\n',
    replace: '      }\n',
  },
  {
    name: 'no directory sync',
    file: 'segment-store.ts',
    find: '      await files.syncDirectory(this.#directory)\n',
    replace: '',
  },
  {
    name: 'act on what was read without making it durable again',
    file: 'open-log.ts',
    find: '    const store = await rewrite(this.#settings, this.#seams, this.#loaded, [open])\n',
    replace:
      "    const files = { ...this.#seams.files, self: this.#seams.files.self }\n    for (const name of ['open', 'rename', 'unlink', 'list', 'stat', 'makeDirectory', 'fileSystemType'] as const) Object.assign(files, { [name]: this.#seams.files[name].bind(this.#seams.files) })\n    files.syncDirectory = async () => undefined\n    const store = await rewrite(this.#settings, { ...this.#seams, files }, this.#loaded, [open])\n",
  },
  {
    name: 'ignore the chain',
    file: 'replay.ts',
    find: 'frame.batch === batch && frame.chain.equals(chain)',
    replace: 'frame.batch === batch && frame.chain.length === chain.length',
  },
  {
    name: 'accept a stale salt',
    file: 'frame.ts',
    find: "  if (bytes.toString('hex', start + 20, start + 28) !== salt) return undefined\n",
    replace: '  if (salt === undefined) return undefined\n',
  },
  {
    name: 'accept a frame at any place',
    file: 'frame.ts',
    find: '  return here === frame.firstPage || here === frame.firstPage + pages ? frame : undefined',
    replace: '  return frame',
  },
  {
    name: 'ignore the digest',
    file: 'frame.ts',
    find: '  if (digest.compare(bytes, start, start + DIGEST_BYTES) !== 0) return undefined\n',
    replace: '',
  },
  {
    name: 'stop at the first bad frame',
    file: 'replay.ts',
    find: '    if (later !== undefined && later.batch >= batch) {',
    replace: '    if (later !== undefined && later.batch < 0) {',
  },
  {
    name: 'do not look behind the torn tail',
    file: 'replay.ts',
    find: '    if (bad.length > 1) {',
    replace: '    if (bad.length < 1) {',
  },
  {
    name: 'write only one copy',
    file: 'segment-store.ts',
    find: 'await writeAll(this.#file, [bytes, bytes]',
    replace: 'await writeAll(this.#file, [bytes]',
  },
  {
    name: 'read only the first copy',
    file: 'frame.ts',
    find: '  for (let pages = 1; pages <= maxPages; pages += 1) {',
    replace: '  for (let pages = 1; pages < 1; pages += 1) {',
  },
  {
    name: 'do not put the copies together',
    file: 'frame.ts',
    find: '  return merged === undefined ? undefined : { frame: merged, intact: false }',
    replace: '  return undefined',
  },
  {
    name: 'answer the wrong waiter',
    file: 'log-writer.ts',
    find: '    for (const entry of batch) entry.onDurable()\n',
    replace:
      '    for (const entry of batch) entry.onDurable()\n    for (const entry of this.#urgent) entry.onDurable()\n',
  },
  {
    name: 'the state runs ahead of the disk',
    file: 'log-writer.ts',
    find: '    await this.#store.force(frame.bytes, frame.digest)\n    await looked\n    this.#forces += 1\n    this.#forcedBytes += 2 * frame.bytes.length\n    for (const entry of batch) this.#state.apply(entry.record, entry.bytes)\n',
    replace:
      '    for (const entry of batch) this.#state.apply(entry.record, entry.bytes)\n    await this.#store.force(frame.bytes, frame.digest)\n    await looked\n',
  },
  {
    name: 'the buffer is not cleared behind a shorter frame',
    file: 'log-writer.ts',
    find: '    this.#target.fill(0, PAYLOAD_START, PAYLOAD_START + this.#payloadBytes)\n',
    replace: '',
  },
  {
    name: 'forget before the last answer',
    file: 'log-state.ts',
    find: '    pending.answers = new Map(pending.answers).set(bqual, answer)\n',
    replace:
      "    pending.answers = new Map(pending.answers).set(bqual, answer)\n    if (answer === 'heuristic-hazard') this.#pending.delete(gtrid)\n",
  },
  {
    name: 'end without every answer',
    file: 'file-decision-log.ts',
    find: "      const isCommitted = answer === 'committed' || answer === 'committed-unproven'",
    replace: "      const isCommitted = answer !== 'heuristic-hazard'",
  },
  {
    name: 'a checkpoint forgets answers',
    file: 'log-state.ts',
    find: '      for (const [bqual, answer] of answers) {',
    replace: '      for (const [bqual, answer] of [...answers].slice(1)) {',
  },
  {
    name: 'a checkpoint forgets the newest decision',
    file: 'log-state.ts',
    find: '    for (const { record, answers, answeredAtMs } of this.#pending.values()) {',
    replace:
      '    for (const { record, answers, answeredAtMs } of [...this.#pending.values()].slice(0, -1)) {',
  },
  {
    name: 'abort after the record was handed over',
    file: 'file-decision-log.ts',
    find: '    if (register.decision === undefined) {',
    replace: "    if (register.decision === undefined || register.value === 'handed-over') {",
  },
  {
    name: 'presume abort after poison (sweep after poison)',
    file: 'file-decision-log.ts',
    find: '      if (this.poison !== undefined) return Promise.reject(poisonedError(this.poison))\n',
    replace: '',
  },
  {
    name: 'forget the register of a failed force',
    file: 'file-decision-log.ts',
    find: "    if (value === 'handed-over') return\n",
    replace: '',
  },
  {
    name: 'decide after poison',
    file: 'log-writer.ts',
    find: '    this.#poison = cause\n    this.#lazyTimer?.clear()',
    replace: '    this.#lazyTimer?.clear()',
  },
  {
    name: 'the same incarnation again after a restart',
    file: 'open-log.ts',
    find: '{ epoch: state.lastEpoch + 1, nonce: nonceFrom(random.bytes(5)) }',
    replace: "{ epoch: state.lastEpoch + 1, nonce: '00000000' }",
  },
  {
    name: 'no reservation for decisions',
    file: 'log-writer.ts',
    find: '    return this.#store.pagesLeft >= reservedPages(live)',
    replace: '    return true',
  },
  {
    name: 'lazy records take the space of decisions',
    file: 'log-writer.ts',
    find: 'const unreserved = this.#store.pagesLeft - reservedPages(this.#seams.live())',
    replace: 'const unreserved = this.#store.pagesLeft',
  },
  {
    name: 'recycle the segment that is still needed',
    file: 'segment-store.ts',
    find: "    await this.#seams.failpoints('log:before-roll')\n",
    replace:
      "    await this.#seams.failpoints('log:before-roll')\n    await this.#seams.files.unlink(this.#path(segmentName(oldNumber)))\n    await this.#seams.files.syncDirectory(this.#directory)\n    await (await this.#seams.files.open(this.#path(segmentName(oldNumber)), 'write')).close()\n",
  },
  {
    name: 'no spare for a moment of a roll, so that a second one is made',
    file: 'segment-store.ts',
    find: "    this.#spare.state = 'recycling'\n    await old?.close()\n",
    replace: "    this.#spare.state = 'missing'\n    await old?.close()\n",
  },
  {
    name: 'frames use the last page',
    file: 'segment-store.ts',
    find: 'this.#segmentBytes / PAGE_BYTES - 1 - this.#page',
    replace: 'this.#segmentBytes / PAGE_BYTES - this.#page',
  },
  {
    name: 'a lock without the second look at its name',
    file: 'log-lock.ts',
    find: 'if ((await files.stat(path))?.inode === (await file.stat()).inode) return file',
    replace: 'if ((await files.stat(path)) !== file) return file',
  },
  {
    name: 'no lock',
    file: 'log-lock.ts',
    find: "while (!(await file.lock('exclusive'))) {",
    replace: 'while (deadline < 0) {',
  },
  {
    name: 'a copied directory is taken for the original',
    file: 'log-lock.ts',
    find: "  return same ? 'own' : 'copied'",
    replace: "  return same || !same ? 'own' : 'copied'",
  },
  {
    name: 'an answer that an end supersedes is answered before the end is durable',
    file: 'log-writer.ts',
    find: "    entry.state = 'superseded'\n",
    replace: "    entry.state = 'superseded'\n    entry.onDurable()\n",
  },
  {
    name: 'an end supersedes answers of branches that did not commit',
    file: 'file-decision-log.ts',
    find: "if (known === answer || known === 'committed')",
    replace: 'if (known !== undefined)',
  },
  {
    name: 'close drops lazy records',
    file: 'log-writer.ts',
    find: '      this.#lazyDue = true\n      this.#wake()\n      await this.#running',
    replace: '      await this.#running',
  },
  {
    name: 'a shared promise resolves with the first of its records',
    file: 'entry.ts',
    find: '    if (this.#aboard === 0) this.#resolve?.()\n',
    replace: '    this.#resolve?.()\n',
  },
  {
    name: 'a record in flight shares its promise with the next batch',
    file: 'log-writer.ts',
    find: '    this.#ride = undefined\n',
    replace: '',
  },
]
