/** Where results go, and on what they were measured. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { cpus, loadavg, release } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** Not in git. */
export const RESULTS = fileURLToPath(new URL('../results', import.meta.url))

export interface Circumstances {
  readonly machine: string
  readonly node: string
  readonly at: string
  /** Processes that wanted to run, over the last minute; the benchmark's own among them. */
  readonly load: number
}

export function circumstances(): Circumstances {
  return {
    machine: `${cpus().length} × ${cpus()[0]?.model ?? 'unknown'}, kernel ${release()}`,
    node: process.version,
    at: new Date().toISOString(),
    load: loadavg()[0] ?? Number.NaN,
  }
}

/** Writes `<name>.json`, and the chart beside it where there is one. */
export function saveResults(folder: string, name: string, results: object, svg?: string): void {
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, `${name}.json`), `${JSON.stringify(results, undefined, 1)}\n`)
  if (svg !== undefined) writeFileSync(join(folder, `${name}.svg`), svg)
}
