/**
 * Each coordinator has an AsyncLocalStorage of its own, which Node keeps for as long as the process
 * lives; here thousands of coordinators come and go in one process.
 */
import { AsyncLocalStorage } from 'node:async_hooks'

const ambients = new Set<AsyncLocalStorage<unknown>>()
const prototype = AsyncLocalStorage.prototype as unknown as { run: (...args: unknown[]) => unknown }
const runWithStore = prototype.run
prototype.run = function run(this: AsyncLocalStorage<unknown>, ...args: unknown[]): unknown {
  ambients.add(this)
  return Reflect.apply(runWithStore, this, args)
}

/** Takes those away that are in use now: between two seeds, when nothing runs. */
export function forgetAmbients(): void {
  for (const storage of ambients) storage.disable()
  ambients.clear()
}
