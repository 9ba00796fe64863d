/** Where the main thread's time goes and what is allocated, told apart by whose code it is. */
import { Session } from 'node:inspector/promises'
import { run } from './measure.ts'
import type { Transfer } from './variants.ts'

export interface Profile {
  /** Percent of the time in which the main thread was not idle, by whose code ran. */
  readonly timePercent: Readonly<Record<string, number>>
  /** KiB a transfer, by whose code allocated. */
  readonly allocatedKiB: Readonly<Record<string, number>>
}

interface SampledNode {
  readonly callFrame: { readonly functionName: string; readonly url: string }
  readonly selfSize: number
  readonly children: readonly SampledNode[]
}

export async function profile(
  transfer: Transfer,
  callers: number,
  forMs: number,
): Promise<Profile> {
  const session = new Session()
  session.connect()
  try {
    await session.post('Profiler.enable')
    await session.post('Profiler.start')
    await run(transfer, callers, forMs)
    const { profile: time } = await session.post('Profiler.stop')
    await session.post('HeapProfiler.startSampling', {
      samplingInterval: 4096,
      // Garbage is what was allocated, too.
      includeObjectsCollectedByMajorGC: true,
      includeObjectsCollectedByMinorGC: true,
    } as object)
    const { values } = await run(transfer, callers, forMs)
    const { profile: heap } = await session.post('HeapProfiler.stopSampling')
    const bytes = new Map<string, number>()
    addSizes(heap.head, bytes)
    return {
      timePercent: percents(timesOf(time)),
      allocatedKiB: Object.fromEntries(
        [...bytes].map(([whose, size]) => [whose, size / 1024 / values.length]),
      ),
    }
  } finally {
    session.disconnect()
  }
}

interface CpuProfile {
  readonly nodes: readonly {
    readonly id: number
    readonly callFrame: { readonly functionName: string; readonly url: string }
  }[]
  readonly samples?: readonly number[] | undefined
  readonly timeDeltas?: readonly number[] | undefined
}

function timesOf({ nodes, samples = [], timeDeltas = [] }: CpuProfile): Map<string, number> {
  const owners = new Map(nodes.map(({ id, callFrame }) => [id, whose(callFrame)]))
  const times = new Map<string, number>()
  samples.forEach((id, at) => {
    const owner = owners.get(id) ?? 'node'
    times.set(owner, (times.get(owner) ?? 0) + (timeDeltas[at] ?? 0))
  })
  times.delete('idle')
  return times
}

function addSizes(node: SampledNode, into: Map<string, number>): void {
  const owner = whose(node.callFrame)
  into.set(owner, (into.get(owner) ?? 0) + node.selfSize)
  for (const child of node.children) addSizes(child, into)
}

function whose({ url, functionName }: { url: string; functionName: string }): string {
  if (functionName === '(idle)') return 'idle'
  if (functionName === '(garbage collector)') return 'garbage collector'
  if (/\/node_modules\/(?:mysql2|sqlstring|denque|long)\//.test(url)) return 'mysql2'
  if (/\/node_modules\/pg/.test(url)) return 'pg'
  if (/\/(?:src|adapters)\//.test(url) && !url.includes('/node_modules/')) return 'ours'
  if (url.includes('/bench/')) return 'benchmark'
  // The write to a socket among it, in which the kernel wakes the server.
  return 'node'
}

function percents(times: ReadonlyMap<string, number>): Record<string, number> {
  const total = [...times.values()].reduce((sum, time) => sum + time, 0)
  return Object.fromEntries([...times].map(([owner, time]) => [owner, (100 * time) / total]))
}
