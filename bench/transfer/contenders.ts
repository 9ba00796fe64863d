/** The variants of a transfer, each in a process of its own, which contender.ts runs in. */
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { LineProcess } from '../support/line-process.ts'
import { VARIANTS } from './banks.ts'
import type { Contender, Turn } from './measure.ts'
import type { Profile } from './profile.ts'
import type { Urls } from './world.ts'

/** How many callers a contender has before it is measured. */
export const WARM_CALLERS = 32

/** One of ours and of those by hand. */
export interface VariantProcess extends Contender {
  /** One transfer, alone. */
  once(row: number): Promise<void>
  profile(callers: number, forMs: number): Promise<Profile>
}

export interface Contenders {
  readonly all: readonly VariantProcess[]
  close(): Promise<void>
}

/**
 * @param warmMs - how long each runs before it is measured, for the compiler: a process that has just
 *   begun is not what a service is
 * @param names - default: all variants
 */
export async function openContenders(
  { ledger, shop }: Urls,
  directory: string,
  warmMs: number,
  names: Iterable<string> = VARIANTS.keys(),
): Promise<Contenders> {
  const program = fileURLToPath(new URL('contender.ts', import.meta.url))
  const started: { name: string; process: LineProcess }[] = []
  const close = async (): Promise<void> => {
    await Promise.all(started.map(({ process: one }) => one.stop()))
  }
  try {
    for (const name of names) {
      const own = join(directory, name.replaceAll(/\W+/g, '-'))
      const words = ['--import', 'tsx', program, name, own, ledger, shop]
      started.push({ name, process: await LineProcess.start([process.execPath, ...words]) })
    }
    const all = started.map(({ name, process: one }) => ({
      ...contender(name, one),
      once: async (row: number) => {
        await one.ask('once', row)
      },
      profile: (callers: number, forMs: number) => one.ask<Profile>('profile', callers, forMs),
    }))
    for (const one of all) await one.turn(WARM_CALLERS, warmMs)
    return { all, close }
  } catch (cause) {
    await close()
    throw cause
  }
}

export function contender(name: string, one: LineProcess): Contender {
  return { name, turn: (callers, forMs) => one.ask<Turn>('turn', callers, forMs) }
}
