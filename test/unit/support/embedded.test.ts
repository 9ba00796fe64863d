/** The copy of the npm package's programs, whose install script may or may not have run. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { copyLinked } from '../../support/servers/embedded.ts'

const LINKS = [
  { source: 'native/lib/liba.so.1.2', target: 'native/lib/liba.so.1' },
  { source: 'native/lib/libb.so.3.4', target: 'native/lib/libb.so.3' },
]

test.each([
  ['made no link', []],
  ['made some links', LINKS.slice(0, 1)],
  ['made all links', LINKS],
])('is complete and stands alone when the install script %s', async (_, made) => {
  const root = mkdtempSync(join(tmpdir(), 'embedded-test-'))
  const [original, copy] = [join(root, 'original'), join(root, 'copy')]
  mkdirSync(join(original, 'native/lib'), { recursive: true })
  mkdirSync(copy)
  writeFileSync(join(original, 'native/pg-symlinks.json'), JSON.stringify(LINKS))
  for (const { source } of LINKS) writeFileSync(join(original, source), source)
  for (const { source, target } of made) {
    symlinkSync(source.replace('native/lib/', ''), join(original, target))
  }
  await copyLinked(original, copy)
  rmSync(original, { recursive: true })
  for (const { source, target } of LINKS) {
    expect(readFileSync(join(copy, target), 'utf8')).toBe(source)
  }
  rmSync(root, { recursive: true })
})
