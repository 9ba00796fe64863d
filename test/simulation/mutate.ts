/**
 * Tests the tests: each mutant is applied to a copy of the sources, where the simulator runs until it
 * has seen it, for at most {@link SEEDS} seeds; then the unit test that is named for it. A mutant that
 * neither sees is a hole.
 */
import { spawnSync } from 'node:child_process'
import { basename, join } from 'node:path'
import Table from 'cli-table3'
import { applyMutant, copyTree } from '../support/mutation.ts'
import { Farm } from './farm.ts'
import { MUTANTS, type ProtocolMutant } from './mutants.ts'

const SEEDS = 10_000
const UNIT_MS = 180_000

/** Whether every mutant was caught. */
export async function mutate(
  root: string,
  only: string | undefined,
  part: string,
): Promise<boolean> {
  const [which = 1, parts = 1] = part.split('/').map(Number)
  const wanted = MUTANTS.filter(({ name }) => only === undefined || name.includes(only))
  const mutants = wanted.filter((_, index) => index % parts === which - 1)
  const table = new Table({
    head: ['rule', 'mutant', 'caught by', 'how'],
    style: { head: [], border: [] },
    colWidths: [8, 56, 24, 60],
    wordWrap: true,
  })
  const { folder, remove } = copyTree(root)
  let alive = 0
  const by = new Map<string, number>()
  try {
    for (const mutant of mutants) {
      const undo = apply(mutant, folder)
      try {
        const caught = await catchIt(mutant, folder)
        if (caught === undefined) alive += 1
        const [who, how] = caught ?? ['ALIVE', '']
        const invariant = /^I\d+/.exec(how)?.[0] ?? (mutant.test === undefined ? 'other' : 'unit')
        by.set(invariant, (by.get(invariant) ?? 0) + 1)
        table.push([mutant.rule, mutant.name, who, how])
        console.log(`${mutant.name}: ${who} ${how}`)
      } finally {
        undo()
      }
    }
  } finally {
    remove()
  }
  console.log(table.toString())
  console.log(`caught by: ${[...by].map(([one, count]) => `${one} ${count}`).join(', ')}`)
  console.log(`${mutants.length - alive} passed, ${alive} failed`)
  return alive === 0
}

function apply(mutant: ProtocolMutant, folder: string): () => void {
  const sources = join(folder, 'src')
  const undo = applyMutant(mutant, sources)
  if (mutant.also === undefined) return undo
  const undoSecond = applyMutant({ name: mutant.name, ...mutant.also }, sources)
  return () => {
    undoSecond()
    undo()
  }
}

async function catchIt(
  mutant: ProtocolMutant,
  folder: string,
): Promise<readonly [string, string] | undefined> {
  if (mutant.test === undefined) {
    const farm = new Farm(folder)
    try {
      const { failures } = await farm.run(0, SEEDS, true)
      const [first] = failures.toSorted((a, b) => a.seed - b.seed)
      if (first !== undefined) return [`seed ${first.seed}`, first.violation.split('\n')[0] ?? '']
    } finally {
      farm.close()
    }
    return undefined
  }
  const [file, title] = mutant.test
  const vitest = join(folder, 'node_modules/.bin/vitest')
  const args = ['run', '--project', 'unit', file, ...(title === '' ? [] : ['-t', title])]
  const { status, stdout } = spawnSync(vitest, args, {
    cwd: folder,
    encoding: 'utf8',
    timeout: UNIT_MS,
    env: { ...process.env, NO_COLOR: '1' },
  })
  if (status === 0) return undefined
  // A file that does not load has caught nothing.
  return / \d+ failed/.test(stdout) ? [`unit test ${basename(file)}`, title] : undefined
}
