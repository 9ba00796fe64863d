/** Counts cases and what went wrong in them, by the promise that was broken. */
export const VERDICTS = [
  'silent losses',
  'wrong contents',
  'refusals to open after a pure crash',
  'single damage in the last acknowledged batch: lost',
  'lies after a failed operation',
  'other than LogCorruptError',
] as const

export type Verdict = (typeof VERDICTS)[number]

export type TallyCounts = Pick<Tally, 'cases' | 'outcomes' | 'failures' | 'examples'>

export class Tally {
  readonly cases: Record<string, number> = {}
  readonly outcomes: Record<string, number> = {}
  readonly failures: Record<string, number> = {}
  readonly examples: string[] = []
  readonly #sample: number
  #seen: number

  /** Takes every `sample`-th case, beginning with case `first`. */
  constructor(sample: number, first = 0) {
    this.#sample = sample
    this.#seen = sample - first - 1
  }

  /** Whether this case is one of the sample. */
  wants(): boolean {
    this.#seen += 1
    return this.#seen % this.#sample === 0
  }

  passed(section: string, outcome: string): void {
    this.cases[section] = (this.cases[section] ?? 0) + 1
    const key = `${section}: ${outcome}`
    this.outcomes[key] = (this.outcomes[key] ?? 0) + 1
  }

  failed(section: string, verdict: Verdict, what: string): void {
    this.cases[section] = (this.cases[section] ?? 0) + 1
    this.failures[verdict] = (this.failures[verdict] ?? 0) + 1
    if (this.examples.length < 10) this.examples.push(`${section}: ${verdict}: ${what}`)
  }

  get total(): number {
    return Object.values(this.cases).reduce((sum, count) => sum + count, 0)
  }

  get failureCount(): number {
    return Object.values(this.failures).reduce((sum, count) => sum + count, 0)
  }

  add(other: TallyCounts): void {
    for (const part of ['cases', 'outcomes', 'failures'] as const) {
      for (const [key, count] of Object.entries(other[part])) {
        this[part][key] = (this[part][key] ?? 0) + count
      }
    }
    this.examples.push(...other.examples.slice(0, 10 - this.examples.length))
  }

  report(): string {
    const sections = Object.entries(this.cases).map(([name, count]) => {
      const outcomes = Object.entries(this.outcomes)
        .filter(([key]) => key.startsWith(`${name}: `))
        .map(([key, number]) => `${number} ${key.slice(name.length + 2)}`)
      return `${String(count).padStart(10)}  ${name} (${outcomes.join(', ')})`
    })
    const verdicts = VERDICTS.map((verdict) => `${verdict}: ${this.failures[verdict] ?? 0}`)
    const examples = this.examples.map((example) => `  ${example}`)
    const failed = this.failureCount
    return [
      ...sections,
      `${String(this.total).padStart(10)}  cases`,
      ...verdicts,
      ...examples,
      `${this.total - failed} passed, ${failed} failed`,
    ].join('\n')
  }
}
