/** What the kernel refuses, and what a machine lacks. */
import { existsSync } from 'node:fs'
import { chmod, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { nodeFileSystem as files } from '../../../src/log/node-file-system.ts'

let folder = ''
let path: string | undefined

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'unanimous-files-'))
  path = process.env['PATH']
})

afterEach(async () => {
  process.env['PATH'] = path
  await rm(folder, { recursive: true })
})

describe('what the kernel refuses is an error', () => {
  it.each<[string, (missing: string, file: string) => Promise<unknown>, string]>([
    ['open', (missing) => files.open(missing, 'read'), 'ENOENT'],
    ['rename', (missing) => files.rename(missing, `${missing}-2`), 'ENOENT'],
    ['unlink', (missing) => files.unlink(missing), 'ENOENT'],
    ['syncDirectory', (missing) => files.syncDirectory(missing), 'ENOENT'],
    ['list', (missing) => files.list(missing), 'ENOENT'],
    ['makeDirectory', (_, file) => files.makeDirectory(`${file}/below`), 'ENOTDIR'],
    ['stat', (_, file) => files.stat(`${file}/below`), 'ENOTDIR'],
    ['fileSystemType', (missing) => files.fileSystemType(missing), 'ENOENT'],
  ])('%s', async (_, ask, code) => {
    const file = join(folder, 'file')
    await writeFile(file, 'text')
    await expect(ask(join(folder, 'missing'), file)).rejects.toMatchObject({ code })
  })

  it('write, through an opening for reading', async () => {
    await writeFile(join(folder, 'file'), 'text')
    const file = await files.open(join(folder, 'file'), 'read')
    await expect(file.write([Buffer.from('x')], 0)).rejects.toMatchObject({ code: 'EBADF' })
    await file.close()
  })

  it('read, of a directory', async () => {
    const file = await files.open(folder, 'read')
    await expect(file.read(Buffer.alloc(4), 0)).rejects.toMatchObject({ code: 'EISDIR' })
    await file.close()
  })
})

describe('the lock', () => {
  async function lockWith(
    programs: Readonly<Record<string, string>>,
    mode = 0o755,
  ): Promise<boolean> {
    const own = join(folder, 'bin')
    await mkdir(own)
    for (const [name, text] of Object.entries(programs)) {
      await writeFile(join(own, name), text)
      await chmod(join(own, name), mode)
    }
    process.env['PATH'] = own
    const file = await files.open(join(folder, 'lock'), 'write')
    try {
      return await file.lock('exclusive')
    } finally {
      await file.close()
    }
  }

  it('is taken through perl where there is no flock', async () => {
    const candidates = (path ?? '').split(delimiter).map((each) => join(each, 'perl'))
    const perl = candidates.find((each) => existsSync(each))
    if (perl === undefined) throw new Error('this test needs perl')
    await symlink(perl, join(folder, 'perl'))
    process.env['PATH'] = folder
    const [first, second] = [
      await files.open(join(folder, 'lock'), 'write'),
      await files.open(join(folder, 'lock'), 'write'),
    ]
    expect(await first.lock('exclusive')).toBe(true)
    expect(await second.lock('shared')).toBe(false)
    await first.close()
    expect(await second.lock('shared')).toBe(true)
    await second.close()
  })

  it('is refused where nothing could take it', async () => {
    await expect(lockWith({})).rejects.toMatchObject({ code: 'LOG_UNSAFE' })
  })

  it('is not taken for held when its command fails otherwise', async () => {
    await expect(lockWith({ flock: '#!/bin/sh\nexit 9\n' })).rejects.toThrow(
      /flock failed with exit code 9/,
    )
  })

  it('is not taken for held when its command is killed', async () => {
    const dying = lockWith({ flock: '#!/bin/sh\nkill -9 $$\n' })
    await expect(dying).rejects.toThrow(/flock failed with exit code -1/)
  })

  it('is not taken for missing when its command may not be run', async () => {
    await expect(lockWith({ flock: '' }, 0o644)).rejects.toMatchObject({ code: 'EACCES' })
  })
})
