/** The package as users will get it: built, packed, and named by the path of its tarball. */
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { mustRun } from './run-command.ts'

/** Packs what `dist` holds now into `folder`; the caller has built it. */
export async function packInto(folder: string): Promise<string> {
  await mustRun('npm', ['pack', '--silent', '--ignore-scripts', '--pack-destination', folder])
  const tarballs = (await readdir(folder)).filter((name) => name.endsWith('.tgz'))
  const tarball = tarballs[0]
  if (tarball === undefined || tarballs.length > 1) {
    throw new Error(`expected one tarball in ${folder}, found ${tarballs.length}`)
  }
  return join(folder, tarball)
}
