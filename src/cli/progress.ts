/**
 * How far long work has come, on stderr: one line that is written over on a terminal, a line every few
 * seconds elsewhere. Work that is over at once says nothing.
 */
import type { Io } from './io.ts'

const FIRST_MS = 1_000
const TERMINAL_MS = 200
const PLAIN_MS = 5_000

/** Leaves nothing in the terminal's line. */
export const CLEAR_LINE = '\r\u001b[K'

export class Progress {
  readonly #io: Io
  readonly #what: string
  readonly #startedAt: number
  #nextAt: number
  #count = 0
  #open = false

  /** @param what - has become of what is counted: `settled` */
  constructor(io: Io, what: string) {
    this.#io = io
    this.#what = what
    this.#startedAt = io.clock.monotonic()
    this.#nextAt = this.#startedAt + FIRST_MS
  }

  step(): void {
    this.#count += 1
    const now = this.#io.clock.monotonic()
    if (now < this.#nextAt) return
    this.#nextAt = now + (this.#io.interactive ? TERMINAL_MS : PLAIN_MS)
    const seconds = (now - this.#startedAt) / 1_000
    const rate = Math.round(this.#count / seconds)
    const line = `${this.#count} ${this.#what}, ${rate} a second`
    this.#open = this.#io.interactive
    this.#io.err(this.#io.interactive ? `\r${line}\u001b[K` : `${line}\n`)
  }

  /** Leaves the terminal's line to what follows. */
  end(): void {
    if (this.#open) this.#io.err(CLEAR_LINE)
    this.#open = false
  }
}
