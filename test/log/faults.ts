/**
 * The n-th request to the disk fails, for every n until a run meets no fault: once, and from then
 * on for ever; with EIO, with ENOSPC, and with a write that takes only a part. Whatever callers
 * were told then must still be true after the process died, and after the power went.
 */
import { isDeepStrictEqual } from 'node:util'
import { FakeDisk, type Fault, keepNone, type Request } from '../support/fake-disk.ts'
import { testLog } from '../support/test-log.ts'
import { live, Observer } from './observer.ts'
import type { Tally, Verdict } from './tally.ts'

const SEGMENT_BYTES = 24 * 4096

type Failing = (request: Request) => Fault | undefined

interface Kind {
  readonly name: string
  at(n: number): Failing
}

const ERRORS: readonly Fault[] = [
  { error: 'EIO' },
  { error: 'EIO', after: 5000 },
  { error: 'ENOSPC' },
  { error: 'ENOSPC', after: 700 },
]

const KINDS: readonly Kind[] = [
  ...ERRORS.flatMap((fault): Kind[] => {
    const name =
      'error' in fault ? `${fault.error}${fault.after === undefined ? '' : ', partial'}` : ''
    return [
      { name: `${name}, once`, at: (n) => (request) => (request.number === n ? fault : undefined) },
      {
        name: `${name}, for ever`,
        at: (n) => (request) => (request.number >= n ? fault : undefined),
      },
    ]
  }),
  {
    name: 'short write',
    at: (n) => (request) =>
      request.number === n && request.kind === 'write' ? { short: 1000 } : undefined,
  },
]

export async function faults(tally: Tally): Promise<void> {
  const clean = await twoLives()
  await oneLife(clean.disk, clean.observer)
  // A run is the same up to the fault, so the one after the last request meets none.
  for (const kind of KINDS) {
    for (let n = 1; n <= clean.disk.requests + 1; n += 1) {
      if (tally.wants()) await failAt(kind, n, tally)
    }
  }
}

async function failAt(kind: Kind, n: number, tally: Tally): Promise<void> {
  const section = `n-th request fails: ${kind.name}`
  const { disk: first, observer } = await twoLives()
  first.fault = kind.at(n)
  await oneLife(first, observer)
  first.fault = undefined
  const ends = [
    ['the process died', first.afterKill()],
    ['the power went', first.afterCrash(keepNone)],
    ['the power went', first.afterCrash((index, sector) => (index + sector) % 2 === 0)],
  ] as const
  for (const [end, left] of ends) {
    const lie = await lieAfter(left, observer)
    if (lie === undefined) tally.passed(section, 'true')
    else tally.failed(section, lie.verdict, `n = ${n}, ${end}: ${lie.what}`)
  }
}

/** A disk with a log that was killed with a torn batch, and what its callers know. */
async function twoLives(): Promise<{ disk: FakeDisk; observer: Observer }> {
  const observer = new Observer()
  const disk = new FakeDisk()
  const log = await testLog(disk).start({ segmentBytes: SEGMENT_BYTES })
  await live(log, observer, 3)
  return { disk: disk.afterCrash(keepNone), observer }
}

/**
 * Opens what was left. What the log says then is acted on, so it must still be there after one more
 * power loss, also where it had come from the page cache alone.
 */
async function lieAfter(
  disk: FakeDisk,
  observer: Observer,
): Promise<{ verdict: Verdict; what: string } | undefined> {
  try {
    const log = await testLog(disk).start()
    const what = observer.lie(log.pending())
    if (what !== undefined) return { verdict: 'lies after a failed operation', what }
    const again = await testLog(disk.afterCrash(keepNone)).start()
    if (!isDeepStrictEqual(again.pending(), log.pending())) {
      return { verdict: 'silent losses', what: 'gone after it was acted on' }
    }
    return undefined
  } catch (cause) {
    return { verdict: 'refusals to open after a pure crash', what: String(cause) }
  }
}

async function oneLife(disk: FakeDisk, observer: Observer): Promise<void> {
  try {
    const log = await testLog(disk).start({ segmentBytes: SEGMENT_BYTES })
    await live(log, observer, 40)
    await log.close()
  } catch (cause) {
    if (!(cause instanceof Error)) throw cause
  }
}
