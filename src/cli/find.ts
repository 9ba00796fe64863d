/** Transactions by what a person types: the whole gtrid, the short id, or enough of the beginning of either. */
import { UnanimousError } from '../errors.ts'
import type { InspectedTransaction, Inspection } from '../recovery/inspection.ts'
import { parseGtrid } from '../xid.ts'
import { printable, shortId } from './print.ts'

/**
 * The one transaction that is meant; `undefined` when nobody knows it.
 *
 * @throws UnanimousError INVALID_OPTION when more than one transaction begins so
 */
export function find({ transactions }: Inspection, id: string): InspectedTransaction | undefined {
  const exact = transactions.find(({ gtrid }) => gtrid === id || shortId(gtrid) === id)
  if (exact !== undefined) return exact
  const begin = transactions.filter(
    ({ gtrid }) => gtrid.startsWith(id) || shortId(gtrid).startsWith(id),
  )
  if (begin.length <= 1) return begin[0]
  const some = begin.slice(0, 5).map(({ gtrid }) => shortId(gtrid))
  throw new UnanimousError('INVALID_OPTION', `${begin.length} transactions begin with ${id}`, {
    hint: `Give more of the id: ${some.join(', ')}${begin.length > some.length ? ', …' : ''}`,
  })
}

/**
 * As {@link find}. A participant that could not be asked may be the only one that knows it.
 *
 * @throws UnanimousError TRANSACTION_UNKNOWN, PARTICIPANT_UNREACHABLE or INVALID_OPTION
 */
export function mustFind(inspection: Inspection, id: string): InspectedTransaction {
  const found = find(inspection, id)
  if (found !== undefined) return found
  const { participants, apart } = inspection
  const silent = participants.filter(({ trouble }) => trouble !== undefined)
  if (silent.length > 0) {
    const names = silent.map(({ name }) => name).join(', ')
    const message = `${printable(id)} was not found, and ${names} could not be asked`
    throw new UnanimousError('PARTICIPANT_UNREACHABLE', message, {
      hint: 'Run the command again when every participant answers.',
    })
  }
  const isApart = apart.some((one) => one.id.includes(id))
  throw new UnanimousError(
    'TRANSACTION_UNKNOWN',
    `no unsettled transaction has the id ${printable(id)}`,
    {
      hint: isApart
        ? 'A branch of that name is not of this log: `unanimous orphans` shows it, and nothing here touches it.'
        : 'The log forgets a transaction once all of its branches are settled; `unanimous list` shows what is left.',
    },
  )
}

/**
 * The gtrid that is meant, whether or not there still is such a transaction.
 *
 * @throws UnanimousError INVALID_OPTION
 */
export function wholeId(logId: string, id: string): string {
  const gtrid = id.startsWith('una1-') ? id : `una1-${logId}-${id}`
  if (parseGtrid(gtrid) !== undefined) return gtrid
  throw new UnanimousError('INVALID_OPTION', `${printable(id)} is no id of a transaction`, {
    hint: 'Give it whole, as `unanimous list` prints it.',
  })
}
