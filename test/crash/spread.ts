/**
 * A spread: a part of the matrix, the same at every run. Next comes the case whose scenario, instant,
 * message and fault, and their pairs, have come up least so far.
 */
import { createHash } from 'node:crypto'
import type { Case } from './table.ts'

/** So many cases of the table, in its order. */
export function spread(cases: readonly Case[], count: number): readonly Case[] {
  const rest = cases.toSorted((a, b) => rank(a).localeCompare(rank(b)))
  const seen = new Map<string, number>()
  const taken = new Set<Case>()
  while (taken.size < Math.min(count, cases.length)) {
    let best = 0
    let least = Number.POSITIVE_INFINITY
    for (const [at, one] of rest.entries()) {
      const cost = aspects(one).reduce((sum, aspect) => sum + (seen.get(aspect) ?? 0), 0)
      if (cost < least) [best, least] = [at, cost]
    }
    const [one] = rest.splice(best, 1)
    if (one === undefined) break
    taken.add(one)
    for (const aspect of aspects(one)) seen.set(aspect, (seen.get(aspect) ?? 0) + 1)
  }
  return cases.filter((one) => taken.has(one))
}

function aspects({ scenario, instant, fault, markers }: Case): readonly string[] {
  const where =
    instant.kind === 'point'
      ? [`point ${instant.point}`, `point ${instant.point} ${fault}`]
      : [
          `wire ${instant.message}`,
          `wire ${instant.message} ${instant.side} ${instant.cut}`,
          `cut ${instant.cut} ${fault}`,
        ]
  return [...where, scenario, fault, `${scenario} ${fault}`, `markers ${markers}`]
}

function rank({ title }: Case): string {
  return createHash('sha256').update(title).digest('hex')
}
