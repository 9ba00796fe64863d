/** Every handling of a trap that `npm run test:takeout` takes out. */
import { DEPARTURE_TAKE_OUTS } from './departures.ts'
import { DRIVER_TAKE_OUTS } from './drivers.ts'
import { MYSQL_TAKE_OUTS } from './mysql.ts'
import type { Edit, TakeOut } from './patch.ts'
import { POSTGRES_TAKE_OUTS } from './postgres.ts'

export const TAKE_OUTS: readonly TakeOut[] = [
  ...MYSQL_TAKE_OUTS,
  ...DEPARTURE_TAKE_OUTS,
  ...POSTGRES_TAKE_OUTS,
  ...DRIVER_TAKE_OUTS,
]

export function editsOf({ file, from, to, and }: TakeOut): readonly Edit[] {
  return and === undefined ? [{ file, from, to }] : [{ file, from, to }, and]
}

/** The text without the handling; `undefined` when what is taken out does not stand there once. */
export function without({ from, to }: Edit, text: string): string | undefined {
  return text.split(from).length === 2 ? text.replace(from, () => to) : undefined
}
