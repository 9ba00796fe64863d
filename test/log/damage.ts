/**
 * Damage to a log at rest. The segment is damaged in place, read, and mended again.
 *
 * Allowed: the log says what it said, or it refuses. Where the damage is confined to one page,
 * nothing may be lost, nor refused, in the last batch.
 */
import { LogCorruptError } from '../../src/errors.ts'
import { SECTOR } from '../support/fake-disk.ts'
import { type History, type Moment, meaning, PAGE } from './history.ts'
import type { Tally } from './tally.ts'

export function damage(history: History, tally: Tally): void {
  for (const moment of history.resting) {
    const suite = new DamageSuite(moment, tally)
    suite.cuts()
    suite.zeroesFromEveryByte()
    suite.everyBit()
    suite.everyBlock('sector', SECTOR)
    suite.everyBlock('page', PAGE)
    suite.staleFrames(history)
  }
}

class DamageSuite {
  readonly #moment: Moment
  readonly #tally: Tally
  readonly #bytes: Buffer
  readonly #truth: string
  /** Pages of the last acknowledged batch, both copies. */
  readonly #last: { from: number; to: number }

  constructor(moment: Moment, tally: Tally) {
    this.#moment = moment
    this.#tally = tally
    this.#bytes = Buffer.from(moment.bytes)
    this.#truth = meaning(this.#bytes, moment.path, moment.number)
    this.#last = { from: moment.lastOffset, to: moment.replayed.end }
  }

  cuts(): void {
    for (let size = 0; size < this.#bytes.length; size += 1) {
      if (this.#tally.wants())
        this.#check('cut at every byte', this.#bytes.subarray(0, size), false)
    }
  }

  zeroesFromEveryByte(): void {
    const whole = this.#bytes
    const zeroed = Buffer.from(whole)
    for (let from = whole.length - 1; from >= 0; from -= 1) {
      zeroed[from] = 0
      if (this.#tally.wants()) this.#check('zeroed from every byte', zeroed, false)
    }
  }

  everyBit(): void {
    const bytes = this.#bytes
    for (let at = 0; at < bytes.length; at += 1) {
      for (let bit = 0; bit < 8; bit += 1) {
        if (!this.#tally.wants()) continue
        bytes[at] = (bytes[at] ?? 0) ^ (1 << bit)
        this.#check('every bit flipped', bytes, this.#isLast(at))
        bytes[at] = (bytes[at] ?? 0) ^ (1 << bit)
      }
    }
  }

  everyBlock(name: string, size: number): void {
    const bytes = this.#bytes
    const original = Buffer.from(bytes)
    for (let at = 0; at < bytes.length; at += size) {
      if (this.#tally.wants() || this.#isLast(at)) {
        bytes.fill(0, at, at + size)
        this.#check(`every ${name} zeroed`, bytes, this.#isLast(at))
        original.copy(bytes, at, at, at + size)
      }
      for (let other = 0; other < bytes.length; other += size) {
        const near = this.#isLast(at) && this.#isLast(other)
        if (other === at || !(this.#tally.wants() || near)) continue
        original.copy(bytes, at, other, other + size)
        this.#check(`every ${name} replaced by every other`, bytes, this.#isLast(at))
        if (other > at) {
          original.copy(bytes, other, at, at + size)
          // Sectors that trade places within one batch can be put together again; whole pages
          // cannot.
          const single = size === SECTOR && near
          this.#check(`every ${name} swapped with every other`, bytes, single)
          original.copy(bytes, other, other, other + size)
        }
        original.copy(bytes, at, at, at + size)
      }
    }
  }

  /** What an earlier life of the file left, at every page and behind every page. */
  staleFrames(history: History): void {
    const stale = history.moments.filter(({ number }) => number !== this.#moment.number)
    const original = Buffer.from(this.#bytes)
    for (const { bytes: old } of stale) {
      for (let page = 2; page < old.length / PAGE; page += 1) {
        const at = page * PAGE
        if (this.#tally.wants()) {
          old.copy(this.#bytes, at, at, at + PAGE)
          this.#check('stale page of another segment', this.#bytes, this.#isLast(at))
          original.copy(this.#bytes, at, at, at + PAGE)
        }
        if (at >= this.#last.to && this.#tally.wants()) {
          old.copy(this.#bytes, at, at)
          this.#check('stale frames behind the end', this.#bytes, false)
          original.copy(this.#bytes)
        }
      }
    }
  }

  #isLast(at: number): boolean {
    return at >= this.#last.from && at < this.#last.to
  }

  /** @param mustHold - the damage is single and in the last batch: it must be survived */
  #check(section: string, bytes: Buffer, mustHold: boolean): void {
    const { path, number } = this.#moment
    let found: string
    try {
      found = meaning(bytes, path, number)
    } catch (cause) {
      if (!(cause instanceof LogCorruptError)) {
        this.#tally.failed(section, 'other than LogCorruptError', String(cause))
      } else if (mustHold) {
        const verdict = 'single damage in the last acknowledged batch: lost'
        this.#tally.failed(section, verdict, cause.message)
      } else this.#tally.passed(section, 'refused')
      return
    }
    if (found === this.#truth) this.#tally.passed(section, 'unharmed')
    else if (mustHold) {
      const verdict = 'single damage in the last acknowledged batch: lost'
      this.#tally.failed(section, verdict, path)
    } else if (found.length < this.#truth.length) {
      this.#tally.failed(section, 'silent losses', path)
    } else this.#tally.failed(section, 'wrong contents', path)
  }
}
