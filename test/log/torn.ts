/**
 * A power loss in the middle of a batch: any subset of the sectors of both copies may have reached
 * the disk, the others are what they were. The log opens, and the batch is there whole or not at
 * all.
 */
import { SECTOR } from '../support/fake-disk.ts'
import { type History, type Moment, meaning } from './history.ts'
import type { Tally } from './tally.ts'

const ALL_SUBSETS_UP_TO = 16
const DRAWN_SUBSETS = 4096

export function torn(history: History, tally: Tally): void {
  let exhaustive = 3
  for (const moment of history.moments) {
    const { before } = moment
    if (before === undefined) continue
    const sectors = (moment.replayed.end - moment.lastOffset) / SECTOR
    const all = sectors <= ALL_SUBSETS_UP_TO && exhaustive > 0
    if (all) exhaustive -= 1
    tearBatch(moment, before, all ? 2 ** sectors : DRAWN_SUBSETS, all, tally)
    tearInsideSectors(moment, before, tally)
  }
}

function tearBatch(
  moment: Moment,
  before: Buffer,
  cases: number,
  all: boolean,
  tally: Tally,
): void {
  const allowed = [
    meaning(before, moment.path, moment.number),
    meaning(moment.bytes, moment.path, moment.number),
  ]
  const sectors = (moment.replayed.end - moment.lastOffset) / SECTOR
  const image = Buffer.from(before)
  let seed = moment.lastOffset
  for (let subset = 0; subset < cases; subset += 1) {
    if (!tally.wants()) continue
    let draw = subset
    for (let sector = 0; sector < sectors; sector += 1) {
      if (!all && sector % 16 === 0) {
        seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0
        draw = seed >>> 8
      }
      const at = moment.lastOffset + sector * SECTOR
      const source = (draw & (1 << (sector % 16))) === 0 ? before : moment.bytes
      source.copy(image, at, at, at + SECTOR)
    }
    judge(`subset of the sectors of a batch${all ? '' : ', drawn'}`, image, moment, allowed, tally)
  }
}

/** The bytes up to every byte of the batch were written: what follows is old, or zero. */
function tearInsideSectors(moment: Moment, before: Buffer, tally: Tally): void {
  const allowed = [
    meaning(before, moment.path, moment.number),
    meaning(moment.bytes, moment.path, moment.number),
  ]
  const image = Buffer.from(before)
  const zeroed = Buffer.from(before)
  zeroed.fill(0, moment.lastOffset, moment.replayed.end)
  for (let at = moment.lastOffset; at < moment.replayed.end; at += 1) {
    image[at] = zeroed[at] = moment.bytes[at] ?? 0
    if (!tally.wants()) continue
    judge('batch written up to every byte', image, moment, allowed, tally)
    judge('batch written up to every byte, then zeros', zeroed, moment, allowed, tally)
  }
}

function judge(
  section: string,
  image: Buffer,
  moment: Moment,
  [before, after]: readonly string[],
  tally: Tally,
): void {
  try {
    const found = meaning(image, moment.path, moment.number)
    if (found === before) tally.passed(section, 'torn')
    else if (found === after) tally.passed(section, 'decided')
    else tally.failed(section, 'wrong contents', moment.path)
  } catch (cause) {
    tally.failed(section, 'refusals to open after a pure crash', String(cause))
  }
}
