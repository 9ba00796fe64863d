/** The variants of a transfer over one set of pools, ours included. */
import { join } from 'node:path'
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

export interface Variant {
  readonly name: string
  readonly transfer: Transfer
  /** Of its decision log; absent where there is none. */
  readonly files?: CountingFiles
}

export interface Variants {
  readonly all: readonly Variant[]
  close(): Promise<void>
}

export async function openVariants(pools: Pools, directory: string): Promise<Variants> {
  const { ledger, shop, defaultShop, wide } = pools
  const plain = (bank: Bank): Transfer => ours((work) => bank.transaction(work))
  const opened = [
    await openOurs(PLAIN_OURS, directory, { ledger, shop }, plain),
    await openOurs('ours, markers', directory, { ledger, shop, markers: true }, plain),
    await openOurs('ours, default pools', directory, { ledger, shop: defaultShop }, plain),
    await openOurs('ours, settled behind', directory, wide, (bank) =>
      ours((work) => bank.transaction(work, { settle: 'behind' })),
    ),
    await openOurs('ours, in advance', directory, { ledger, shop }, (bank) =>
      inAdvance((statements) => bank.execute(statements)),
    ),
  ]
  return {
    all: [
      { name: YARDSTICK, transfer: handWritten(pools) },
      { name: 'batched by hand', transfer: batchedByHand(pools) },
      { name: 'two plain commits', transfer: twoCommits(pools) },
      ...opened.map(({ variant }) => variant),
    ],
    close: async () => {
      for (const { close } of opened) await close()
    },
  }
}

/** What a coordinator over the two can do. */
interface Bank {
  transaction: Transact
  execute: Execute
}

async function openOurs(
  name: string,
  directory: string,
  { ledger, shop, markers = false }: Pick<Pools, 'ledger' | 'shop'> & { markers?: boolean },
  transferOf: (bank: Bank) => Transfer,
): Promise<{ variant: Variant; close: () => Promise<unknown> }> {
  const files = countingFiles()
  const schema = markers ? { markerSchema: MARKER_SCHEMA } : {}
  const participants = { ledger: postgres(ledger, schema), shop: mysql(shop, schema) }
  if (markers) await createMarkers(participants)
  const bank = await Coordinator.open({
    log: { directory: join(directory, name.replaceAll(/\W+/g, '-')), allowUnsafeFileSystem: true },
    participants,
    seams: { files },
  })
  return { variant: { name, transfer: transferOf(bank), files }, close: () => bank.close() }
}

async function createMarkers(participants: Participants): Promise<void> {
  for (const [name, definition] of Object.entries(participants)) {
    const participant = definition.create({ name, clock: systemClock, warn: () => undefined })
    await participant.init()
    await participant.close()
  }
}
