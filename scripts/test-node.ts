/**
 * `npm run test:node`: the whole suite, and the command line's `--version`, on every Node.js of
 * `scripts/matrix/package.json`. The releases come from npm, run no install script, and stay in the
 * cache folder that the servers' programs are in. Each run uses the tree's own node_modules: `node`
 * is the only thing that changes.
 *
 *   npm run test:node                      every release
 *   npm run test:node -- n24 test/unit     one release, part of the suite
 */
import { createHash } from 'node:crypto'
import { copyFile, readFile } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import { z } from 'zod'
import { type Counts, countsLine } from '../test/support/reporter.ts'
import { cached } from '../test/support/servers/cache.ts'
import { mustRun, TOOLS } from './run-command.ts'
import { runSuite } from './run-suite.ts'
import { ROOT } from './source-tree.ts'

const MANIFEST = join(ROOT, 'scripts', 'matrix', 'package.json')
const Manifest = z.object({ dependencies: z.record(z.string(), z.string()) })

async function installReleases(): Promise<string> {
  const manifest = await readFile(MANIFEST)
  const key = createHash('sha256').update(manifest).digest('hex').slice(0, 16)
  return await cached(`node-matrix-${key}`, async (folder) => {
    if (process.platform !== 'linux' || process.arch !== 'x64') {
      throw new Error('the releases of scripts/matrix/package.json are for Linux on x64')
    }
    console.log('installing the Node.js releases (once)')
    await copyFile(MANIFEST, join(folder, 'package.json'))
    const quiet = ['--ignore-scripts', '--no-audit', '--no-fund', '--no-package-lock']
    await mustRun('npm', ['install', ...quiet], { cwd: folder })
  })
}

/** Everything that `npm test` runs, with `node` of the release first in PATH. */
async function testOn(
  release: string,
  folder: string,
  filters: readonly string[],
): Promise<Counts> {
  const bin = join(folder, 'node_modules', release, 'bin')
  const node = join(bin, 'node')
  const env = { PATH: [bin, TOOLS, process.env['PATH'] ?? ''].join(delimiter) }
  const version = (await mustRun(node, ['--version'])).stdout.trim()
  const own = await mustRun(node, ['dist/src/cli/main.js', '--version'])
  console.log(`== node ${version}, unanimous ${own.stdout.trim()}`)

  return await runSuite(node, filters, { env })
}

const releases = Object.keys(
  Manifest.parse(JSON.parse(await readFile(MANIFEST, 'utf8'))).dependencies,
)
const args = process.argv.slice(2)
const chosen = args.filter((arg) => releases.includes(arg))
const filters = args.filter((arg) => !releases.includes(arg))

await mustRun('npm', ['run', '--silent', 'build'])
const folder = await installReleases()
const total: Counts = { passed: 0, failed: 0, skipped: 0 }
for (const release of chosen.length > 0 ? chosen : releases) {
  const counts = await testOn(release, folder, filters)
  console.log(`== ${release}: ${countsLine(counts)}\n`)
  total.passed += counts.passed
  total.failed += counts.failed
  total.skipped += counts.skipped
}
console.log(countsLine(total))
if (total.failed > 0 || total.passed === 0) process.exitCode = 1
