/** A process of its own for ranges of seeds: told over IPC, answers over IPC. */
import { runSeed } from './run.ts'
import { runSeeds, type SeedRange } from './seeds.ts'

// A stack for each error that the protocol takes as an answer would cost more than the protocol.
Error.stackTraceLimit = Number(process.env['SIM_STACK'] ?? 0)

process.on('message', (order: SeedRange | { readonly trace: number }) => {
  perform(order).then(
    (answer) => process.send?.(answer),
    (cause: unknown) => {
      console.error(cause)
      process.exit(1)
    },
  )
})

async function perform(order: SeedRange | { readonly trace: number }): Promise<object> {
  if ('trace' in order) {
    const result = await runSeed(order.trace, true)
    return { hash: result.hash, violation: result.violation, trace: result.trace }
  }
  return await runSeeds(order)
}
