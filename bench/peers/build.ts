/** What the peers are made with. */
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { Program } from '../support/line-process.ts'

const here = fileURLToPath(new URL('.', import.meta.url))

/** How to run it, or what is missing for that, in words. */
export type Built = { readonly program: Program } | { readonly missing: string }

/** Compiles what runs on the JVM; Maven fetches what it needs the first time. */
export function buildJvm(): Built {
  const missing = ['mvn', 'java'].find((tool) => spawnSync(tool, ['-version']).error !== undefined)
  if (missing !== undefined) {
    return { missing: `no \`${missing}\` on this machine: Maven and Java 17 or newer are needed` }
  }
  const goals = ['compile', 'dependency:copy-dependencies', '-DincludeScope=runtime']
  const { status, stdout } = spawnSync('mvn', ['-q', '-B', ...goals], { cwd: here })
  if (status !== 0) return { missing: `Maven could not build them:\n${String(stdout)}` }
  const classes = `${here}target/classes:${here}target/dependency/*`
  // The same heap for each, all of it from the start.
  return { program: ['java', '-Xms512m', '-Xmx512m', '-cp', classes, 'peers.Main'] }
}

/** Makes a virtual environment; pip fetches what it needs the first time. */
export function buildPython(): Built {
  const environment = `${here}target/python`
  const steps: readonly Program[] = [
    ['python3', '-m', 'venv', environment],
    [`${environment}/bin/pip`, 'install', '-q', '-r', `${here}python/requirements.txt`],
  ]
  for (const [tool, ...words] of steps) {
    const { error, status, stderr } = spawnSync(tool, words)
    if (error !== undefined) return { missing: `no \`${tool}\` on this machine` }
    if (status !== 0) return { missing: `${tool} failed:\n${String(stderr)}` }
  }
  return { program: [`${environment}/bin/python`, `${here}python/session.py`] }
}
