import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { withSocketPath } from '../../../src/log/socket-place.ts'

let folder = ''

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'unanimous-socket-'))
})

afterEach(async () => {
  vi.unstubAllEnvs()
  await rm(folder, { recursive: true })
})

it('gives a path that a socket can have, however deep the directory is', async () => {
  const deep = join(folder, 'd'.repeat(120))
  const paths: string[] = []
  for (const directory of [folder, deep]) {
    await withSocketPath(directory, async (path) => void paths.push(path))
  }
  expect(paths[0]).toBe(join(folder, 'live', 'socket'))
  expect(paths[1]?.length).toBeLessThanOrEqual(103)
})

it('says so, and leaves nothing, when the folder for temporary files is too deep as well', async () => {
  const temporary = join(folder, 't'.repeat(120))
  await mkdir(temporary)
  vi.stubEnv('TMPDIR', temporary)
  const use = withSocketPath(join(folder, 'd'.repeat(120)), async () => undefined)
  await expect(use).rejects.toThrow(/is too long for the path of a socket/)
  expect(await readdir(temporary)).toEqual([])
})
