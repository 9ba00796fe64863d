/**
 * MariaDB or MySQL from Debian's or Ubuntu's packages; on Debian sid has MySQL 9.
 */
import { join } from 'node:path'
import type { Build } from './build.ts'
import { startManaged } from './managed.ts'
import { findShare } from './mysql-family.ts'
import { UNPACKED_ENV, unpacked, unpackedCommand } from './packages.ts'
import type { Flavour, Provider } from './server.ts'
import { messageOf, Unavailable } from './server.ts'

const TITLES = { mariadb: 'MariaDB', mysql: 'MySQL' }

type FamilyFlavour = keyof typeof TITLES

export const debian: Provider = {
  name: 'Debian packages, unpacked',
  async start(wish, report) {
    const flavours = wish.flavours.filter(isFamily)
    if (flavours.length === 0) throw new Unavailable('has MariaDB and MySQL only')
    const refusals: string[] = []
    for (const flavour of flavours) {
      try {
        const title = TITLES[flavour]
        const names = new RegExp(`^${flavour}-server-core(-[0-9.]+)?$`)
        const { version } = wish
        const folder = await unpacked({ key: flavour, title, names, version }, report)
        return await startManaged(buildIn(folder, flavour), report, wish)
      } catch (error) {
        if (!(error instanceof Unavailable)) throw error
        refusals.push(messageOf(error))
      }
    }
    throw new Unavailable(refusals.join('; '))
  },
}

function isFamily(flavour: Flavour): flavour is FamilyFlavour {
  return flavour !== 'postgres'
}

function buildIn(root: string, flavour: FamilyFlavour): Build {
  const share = findShare([join(root, 'usr/share')])
  if (share === undefined) {
    throw new Error(`${root} holds no ${flavour} server: remove that folder and try again`)
  }
  return {
    flavour,
    source: `Debian packages in the cache (${root})`,
    server: unpackedCommand(root, `usr/sbin/${flavour === 'mariadb' ? 'mariadbd' : 'mysqld'}`),
    share,
    plugins: join(root, 'usr/lib/mysql/plugin'),
    env: UNPACKED_ENV,
  }
}
