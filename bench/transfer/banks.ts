/** The variants of a transfer, ours included. */
import { Coordinator } from 'unanimous'
import { mysql } from 'unanimous/mysql2'
import { postgres } from 'unanimous/pg'
import { systemClock } from '../../src/clock.ts'
import type { Participants } from '../../src/participant/registry.ts'
import { type CountingFiles, countingFiles } from '../support/counting-files.ts'
import {
  batchedByHand,
  type Execute,
  handWritten,
  inAdvance,
  ours,
  type Transact,
  type Transfer,
  twoCommits,
} from './variants.ts'
import { MARKER_SCHEMA, type Pools } from './world.ts'

/** What the ratios are to. */
export const YARDSTICK = 'hand-written'
/** Ours, as the targets mean it: pools with `multipleStatements`, no marker tables. */
export const PLAIN_OURS = 'ours'

export interface Opened {
  readonly transfer: Transfer
  /** Of its decision log; absent where there is none. */
  readonly files?: CountingFiles
  close(): Promise<unknown>
}

/** A variant over these pools; its decision log, if it has one, in the directory. */
type Open = (pools: Pools, directory: string) => Promise<Opened>

/** In the order in which they are told. */
export const VARIANTS: ReadonlyMap<string, Open> = new Map<string, Open>([
  [YARDSTICK, without(handWritten)],
  ['batched by hand', without(batchedByHand)],
  ['two plain commits', without(twoCommits)],
  [PLAIN_OURS, ({ ledger, shop }, directory) => openOurs(directory, { ledger, shop }, plain)],
  ['ours, limited sessions', ({ limited }, directory) => openOurs(directory, limited, plain)],
  [
    'ours, markers',
    ({ ledger, shop }, directory) => openOurs(directory, { ledger, shop, markers: true }, plain),
  ],
  [
    'ours, default pools',
    ({ ledger, defaultShop }, directory) =>
      openOurs(directory, { ledger, shop: defaultShop }, plain),
  ],
  ['ours, settled behind', ({ wide }, directory) => openOurs(directory, wide, behind)],
  [
    'ours, in advance',
    ({ ledger, shop }, directory) =>
      openOurs(directory, { ledger, shop }, (bank) =>
        inAdvance((statements) => bank.execute(statements)),
      ),
  ],
])

function without(transferOver: (pools: Pools) => Transfer): Open {
  return async (pools) => ({ transfer: transferOver(pools), close: async () => undefined })
}

export function plain(bank: Bank): Transfer {
  return ours((work) => bank.transaction(work))
}

function behind(bank: Bank): Transfer {
  return ours((work) => bank.transaction(work, { settle: 'behind' }))
}

/** What a coordinator over the two can do. */
interface Bank {
  transaction: Transact
  execute: Execute
}

export async function openOurs(
  directory: string,
  { ledger, shop, markers = false }: Pick<Pools, 'ledger' | 'shop'> & { markers?: boolean },
  transferOf: (bank: Bank) => Transfer,
): Promise<Opened> {
  const files = countingFiles()
  const schema = markers ? { markerSchema: MARKER_SCHEMA } : {}
  const participants = { ledger: postgres(ledger, schema), shop: mysql(shop, schema) }
  if (markers) await createMarkers(participants)
  const bank = await Coordinator.open({
    log: { directory, allowUnsafeFileSystem: true },
    participants,
    seams: { files },
  })
  return { transfer: transferOf(bank), files, close: () => bank.close() }
}

async function createMarkers(participants: Participants): Promise<void> {
  for (const [name, definition] of Object.entries(participants)) {
    const participant = definition.create({ name, clock: systemClock, warn: () => undefined })
    await participant.init()
    await participant.close()
  }
}
