/**
 * `npm run test:peers`: the tests that meet a driver or a query library, with the lowest version of
 * each that `peerDependencies` promises. The tree is copied, so that its own node_modules stay as
 * they are.
 *
 *   npm run test:peers                     on all that meets a driver
 *   npm run test:peers -- test/contract    a part
 */
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { z } from 'zod'
import { mustRun } from './run-command.ts'
import { runSuite } from './run-suite.ts'
import { ROOT, readRepository } from './source-tree.ts'

const DEFAULT = [
  'test/unit/adapters',
  'test/contract',
  'test/integration/ambient',
  'test/integration/driver-forms',
  'test/integration/drop-in',
  'test/integration/execute',
  'test/integration/first-statement',
  'test/integration/libraries',
  'test/integration/transfer.test.ts',
]

/** Every range is a caret and the lowest version: that is what can be tested to be true. */
const Manifest = z.object({
  peerDependencies: z.record(z.string(), z.templateLiteral(['^', z.string()])),
})

async function lowestPeers(): Promise<string[]> {
  const text = await readFile(join(ROOT, 'package.json'), 'utf8')
  const { peerDependencies } = Manifest.parse(JSON.parse(text))
  return Object.entries(peerDependencies).map(([name, range]) => `${name}@${range.slice(1)}`)
}

async function copyTree(folder: string): Promise<void> {
  for (const { path, text } of readRepository()) {
    const target = join(folder, path)
    await mkdir(dirname(target), { recursive: true })
    await writeFile(target, text)
  }
}

const asked = process.argv.slice(2)
const folder = await mkdtemp(join(tmpdir(), 'unanimous-peers-'))
try {
  const peers = await lowestPeers()
  console.log(`installing ${peers.join(', ')}`)
  await copyTree(folder)
  const quiet = ['--ignore-scripts', '--no-audit', '--no-fund']
  await mustRun('npm', ['ci', ...quiet], { cwd: folder })
  await mustRun('npm', ['install', '--no-save', ...quiet, ...peers], { cwd: folder })
  // It says its own counts, as the last line.
  const counts = await runSuite(process.execPath, asked.length > 0 ? asked : DEFAULT, {
    cwd: folder,
  })
  if (counts.failed > 0 || counts.passed === 0) process.exitCode = 1
} finally {
  await rm(folder, { recursive: true, force: true })
}
