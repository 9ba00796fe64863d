/**
 * A process that opens a log and holds it: `tsx log-child.ts <directory> [lockWaitMs]`.
 *
 * Prints `open` when it holds the log, or the code and message of what refused it. Commits one
 * transaction for every line on stdin, and prints its gtrid once that is decided, or why it is not.
 * Ends when stdin does.
 */
import { createInterface } from 'node:readline'
import { systemClock, systemRandom } from '../../src/clock.ts'
import { messageOf, UnanimousError } from '../../src/errors.ts'
import { noFailpoints } from '../../src/failpoint.ts'
import { nodeFileSystem } from '../../src/log/node-file-system.ts'
import { openFileDecisionLog } from '../../src/log/open-log.ts'
import { commitOne } from './test-log.ts'

const [directory = '', lockWaitMs = '0'] = process.argv.slice(2)

try {
  const opened = await openFileDecisionLog(
    {
      directory,
      lockWaitMs: Number(lockWaitMs),
      allowUnsafeFileSystem: true,
      segmentBytes: 64 * 4096,
    },
    {
      clock: systemClock,
      random: systemRandom,
      files: nodeFileSystem,
      failpoints: noFailpoints,
      onEvent: ({ kind }) => console.error(kind),
    },
  )
  const log = await opened.start()
  console.log('open')
  for await (const _ of createInterface({ input: process.stdin })) {
    console.log(await commitOne(log).catch(describe))
  }
  await log.close()
} catch (cause) {
  console.log(describe(cause))
}

function describe(cause: unknown): string {
  const code = cause instanceof UnanimousError ? cause.code : 'unknown'
  return `${code} ${messageOf(cause)}`
}
