/** Reads what the packets of a vote and a probe answered. */
import type { PgResult } from './driver-types.ts'

export function sameTags(results: readonly PgResult[], tags: readonly string[]): boolean {
  return results.length === tags.length && results.every((one, at) => one.command === tags[at])
}

/** The transaction id that a vote packet or a probe answered, if it can be read. */
export function xid8In(results: readonly PgResult[]): string | undefined {
  const xid8 = results[1]?.rows[0]?.['xid8']
  return typeof xid8 === 'string' && /^\d+$/.test(xid8) ? xid8 : undefined
}

/** Whatever is no clear answer leaves it possible that the branch has written. */
export function saysNoId(results: readonly PgResult[]): boolean {
  return results[1]?.rows[0]?.['xid8'] === ''
}
