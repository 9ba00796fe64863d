/**
 * The log format, kept: log-v1.bin is a segment as version 1 writes it, log-v1.jsonl what it says. Every
 * later version must read it. To make them anew, on purpose and for a new version only:
 * `UPDATE_GOLDEN=1 npx vitest run test/golden/log.test.ts`.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { dumpLog, verifyLog } from '../../src/log/read-log.ts'
import { FakeDisk } from '../support/fake-disk.ts'
import {
  commitOne,
  DIRECTORY,
  endOne,
  SMALLEST_SEGMENT,
  testLog,
  unawaited,
} from '../support/test-log.ts'

const SEGMENT = `${DIRECTORY}/segment-0000000002.log`
const BYTES = fileURLToPath(new URL('log-v1.bin', import.meta.url))
const DUMP = fileURLToPath(new URL('log-v1.jsonl', import.meta.url))

describe('the golden log', () => {
  it('is read as it was written', async () => {
    if (process.env['UPDATE_GOLDEN'] !== undefined) {
      const disk = await write()
      writeFileSync(BYTES, disk.bytes(SEGMENT))
      writeFileSync(DUMP, await dump(disk))
    }
    const disk = new FakeDisk()
    disk.put(SEGMENT, readFileSync(BYTES))
    expect(await dump(disk)).toBe(readFileSync(DUMP, 'utf8'))
    const report = await verifyLog(DIRECTORY, disk)
    expect(report).toMatchObject({ repairable: [], torn: undefined, pending: 2 })
  })

  it('is what this version writes, byte for byte', async () => {
    const disk = await write()
    expect(disk.bytes(SEGMENT).equals(readFileSync(BYTES))).toBe(true)
  })

  it('holds every kind of record', () => {
    const kinds = new Set<string>()
    for (const line of readFileSync(DUMP, 'utf8').trim().split('\n')) {
      const batch: { records: { type: string }[] } = JSON.parse(line)
      for (const { type } of batch.records) kinds.add(type)
    }
    expect([...kinds].toSorted((a, b) => a.localeCompare(b))).toEqual([
      'answered',
      'checkpoint',
      'commit',
      'end',
      'heuristic',
      'open',
      'operator',
      'server',
    ])
  })
})

/** A log that was opened twice, with decisions, answers, ends and an operator's word. */
async function write(): Promise<FakeDisk> {
  const disk = new FakeDisk()
  const first = await testLog(disk).start({ segmentBytes: SMALLEST_SEGMENT })
  await commitOne(first, { name: 'überweisung', meta: '{"order":17}' })
  await first.close()
  const test = testLog(disk)
  const log = await test.start({ segmentBytes: SMALLEST_SEGMENT })
  const kept = await commitOne(log)
  unawaited(log.answered(kept, 'ledger', 'committed'))
  unawaited(log.answered(kept, 'shop.4711', 'heuristic-hazard'))
  const over = await commitOne(log)
  test.clock.advance(1000)
  const ended = endOne(log, over)
  await log.operator({
    action: 'note',
    gtrid: kept,
    who: 'ada',
    host: 'db1',
    reason: 'the shop was restored from a backup',
  })
  await ended
  await log.close()
  return disk
}

async function dump(disk: FakeDisk): Promise<string> {
  const lines: string[] = []
  for await (const { offset, batch, records } of dumpLog(DIRECTORY, disk)) {
    lines.push(`${JSON.stringify({ offset, batch, records })}\n`)
  }
  return lines.join('')
}
