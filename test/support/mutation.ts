/** Deliberate mistakes in a copy of the sources, one at a time, for tests of the tests. */
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export interface Mutant {
  readonly name: string
  readonly file: string
  /** Stands exactly once in the file. */
  readonly find: string
  readonly replace: string
}

const COPIED = ['src', 'adapters', 'test', 'package.json', 'tsconfig.json', 'vitest.config.ts']

/** A copy of the tree, in which tests can be run. */
export function copyTree(root: string): { readonly folder: string; readonly remove: () => void } {
  const folder = mkdtempSync(join(tmpdir(), 'unanimous-mutants-'))
  for (const name of COPIED) cpSync(join(root, name), join(folder, name), { recursive: true })
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'))
  return { folder, remove: () => rmSync(folder, { recursive: true, force: true }) }
}

/**
 * Makes the mistake.
 *
 * @param sources - folder of the copy in which the mutant's file is
 * @returns what takes it back
 * @throws Error when the mutant does not fit exactly once
 */
export function applyMutant({ name, file, find, replace }: Mutant, sources: string): () => void {
  const path = join(sources, file)
  const source = readFileSync(path, 'utf8')
  if (source.split(find).length !== 2) {
    throw new Error(`the mutant "${name}" does not fit ${file} any more`)
  }
  writeFileSync(
    path,
    source.replace(find, () => replace),
  )
  return () => writeFileSync(path, source)
}
