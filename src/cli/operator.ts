/** Who gives the command, from where, and why: what the log keeps of everything done by hand. */
import { hostname, userInfo } from 'node:os'
import { UnanimousError } from '../errors.ts'
import type { OperatorEntry } from '../log/decision-log.ts'

/** @throws UnanimousError INVALID_OPTION for a reason without a word in it */
export function operatorWord(reason: string): Pick<OperatorEntry, 'who' | 'host' | 'reason'> {
  if (reason.trim() === '') {
    throw new UnanimousError('INVALID_OPTION', 'the reason is empty', {
      hint: 'It stays in the log: a ticket, or a sentence that explains it to whoever looks next.',
    })
  }
  return { who: userName(), host: hostname(), reason }
}

/** A container's user may have a number and no name. */
function userName(): string {
  const behind = process.env['SUDO_USER']
  try {
    const { username } = userInfo()
    return behind === undefined || behind === username ? username : `${username} (${behind})`
  } catch {
    return `uid ${process.getuid?.() ?? 'unknown'}`
  }
}
