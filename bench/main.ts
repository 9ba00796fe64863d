/**
 * `npm run bench -- <name> [options]`: runs bench/<name>.ts, which describes its options. Without a
 * name: transfer.ts.
 */
import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { basename } from 'node:path'
import { fileURLToPath } from 'node:url'

const here = fileURLToPath(new URL('.', import.meta.url))
const names = readdirSync(here)
  .filter((file) => file.endsWith('.ts') && file !== 'main.ts')
  .map((file) => basename(file, '.ts'))
const words = process.argv.slice(2)
const isNamed = words[0] !== undefined && !words[0].startsWith('-')
const [name = '', ...options] = isNamed ? words : ['transfer', ...words]

if (names.includes(name)) {
  const args = ['--import', 'tsx', `${here}${name}.ts`, ...options]
  // Without the paths of tsconfig.json `unanimous` is the built package: what runs is what users run,
  // and not what tsx makes of it (its names for functions were a tenth of what a transfer allocated).
  const env = { ...process.env, TSX_TSCONFIG_PATH: `${here}tsconfig.run.json` }
  spawnSync('npm', ['run', '-s', 'build'], { stdio: 'inherit' })
  const { status } = spawnSync(process.execPath, args, { stdio: 'inherit', env })
  process.exitCode = status ?? 1
} else {
  console.error(`usage: npm run bench -- <${names.join(' | ')}> [options]`)
  process.exitCode = 2
}
