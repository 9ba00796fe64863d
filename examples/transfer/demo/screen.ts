/** What the demo shows. Colour and a moving bar only on a terminal; plain lines everywhere else. */
import type { Report } from '../../../test/support/servers/index.ts'

const isTerminal = process.stdout.isTTY && !process.env['NO_COLOR']
const BAR_WIDTH = 40

function paint(code: number, text: string): string {
  return isTerminal ? `\u001b[${code}m${text}\u001b[0m` : text
}

export const good = (text: string): string => paint(32, text)
export const bad = (text: string): string => paint(31, text)
export const faint = (text: string): string => paint(2, text)

export function heading(text: string): void {
  console.log(`\n${paint(1, text)}`)
}

export const line: Report = (text) => {
  console.log(`  ${text}`)
}

/** Lines under a line: what a server or a command said. */
export function quote(text: string): void {
  for (const each of text.trimEnd().split('\n')) console.log(`      ${faint(each)}`)
}

/** Moves with each call; without a terminal it says a word at every quarter. */
export class Progress {
  readonly #total: number
  readonly #what: string
  #done = 0

  constructor(total: number, what: string) {
    this.#total = total
    this.#what = what
  }

  tick(): void {
    this.#done += 1
    const part = this.#done / this.#total
    const count = `${number(this.#done)} of ${number(this.#total)} ${this.#what}`
    if (isTerminal) {
      const full = Math.round(part * BAR_WIDTH)
      const bar = `${'█'.repeat(full)}${'░'.repeat(BAR_WIDTH - full)}`
      process.stdout.write(`\r  ${bar} ${count}${this.#done === this.#total ? '\n' : ''}`)
    } else if (Math.floor(part * 4) > Math.floor(((this.#done - 1) / this.#total) * 4)) line(count)
  }
}

export function number(value: number): string {
  return value.toLocaleString('en-US')
}

/** Cents, as a person writes them. */
export function money(cents: number): string {
  return (cents / 100).toLocaleString('en-US', { minimumFractionDigits: 2 })
}

export function seconds(ms: number): string {
  return `${(ms / 1_000).toFixed(2)} s`
}
