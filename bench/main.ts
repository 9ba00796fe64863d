/** `npm run bench -- <name> [options]`: runs bench/<name>.ts, which describes its options. */
import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { basename } from 'node:path'
import { fileURLToPath } from 'node:url'

const here = fileURLToPath(new URL('.', import.meta.url))
const names = readdirSync(here)
  .filter((file) => file.endsWith('.ts') && file !== 'main.ts')
  .map((file) => basename(file, '.ts'))
const [name = '', ...options] = process.argv.slice(2)

if (names.includes(name)) {
  const args = ['--import', 'tsx', `${here}${name}.ts`, ...options]
  const { status } = spawnSync(process.execPath, args, { stdio: 'inherit' })
  process.exitCode = status ?? 1
} else {
  console.error(`usage: npm run bench -- <${names.join(' | ')}> [options]`)
  process.exitCode = 2
}
