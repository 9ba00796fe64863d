/**
 * A program of its own that outlives the process which started it, by the moment it takes to remove
 * what that process left: however it ended, its end of the pipe closes. So one mechanism serves a
 * normal exit, a signal, an uncaught exception and SIGKILL alike.
 *
 * Reads lines of JSON, `[name, remains]` to know of something and `[name]` to forget it.
 */
import { createInterface } from 'node:readline'
import type { Remains } from './remains.ts'
import { dispose } from './remains.ts'

const known = new Map<string, Remains>()

for await (const line of createInterface({ input: process.stdin })) {
  const [name, remains] = JSON.parse(line) as [string, Remains?]
  if (remains === undefined) known.delete(name)
  else known.set(name, remains)
}
await Promise.allSettled([...known.values()].map(dispose))
