/**
 * Branches of src/log, src/protocol, src/recovery and src/commit that no test without a server takes, each with
 * its reason. `npm run coverage` fails when one of them is taken after all, or is gone.
 */
import type { Gap } from './judge.ts'

export const GAPS: readonly Gap[] = [
  {
    file: 'src/log/bytes.ts',
    code: '(this.#bytes[at] ?? 0) > 0x7f',
    reason: 'A place before the end has a byte: the type of an index does not know.',
  },
  {
    file: 'src/log/node-file-system.ts',
    code: 'force: FORCED_BY_FLAG ?',
    reason: 'Elsewhere than on Linux a write is made durable by a sync of its own.',
  },
  {
    file: 'src/log/node-file-system.ts',
    code: 'cause === null ? resolve(fileStat(stats)) : reject(cause)',
    reason: 'The kernel refuses fstat of an open file only when its disk is broken.',
  },
  {
    file: 'src/recovery/pass.ts',
    code: 'xid === undefined ? undefined : parseGtrid(xid.gtrid)?.logId',
    reason: 'The branch of another log was told by its xid: its type does not know.',
  },
]
