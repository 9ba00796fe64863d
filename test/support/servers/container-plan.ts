/**
 * How a container is told to be a server: by the environment that the official images understand,
 * or, for an image without an entry point of its own (made from Debian packages, say), by a script.
 */
import * as family from './mysql-family.ts'
import * as postgres from './postgres.ts'
import type { Flavour } from './server.ts'

export interface ContainerPlan {
  readonly flavour: Flavour
  readonly port: number
  readonly environment: Record<string, string>
  readonly command: string[]
  readonly password: string
}

export function planFor(flavour: Flavour, isOfficial: boolean, password: string): ContainerPlan {
  const port = flavour === 'postgres' ? 5432 : 3306
  const settings = settingsOf(flavour)
  if (isOfficial) {
    const command = [flavour === 'postgres' ? 'postgres' : serverOf(flavour), ...settings]
    return { flavour, port, password, command, environment: officialLogin(flavour, password) }
  }
  const script = flavour === 'postgres' ? POSTGRES : flavour === 'mariadb' ? MARIADB : MYSQL
  const command = ['/bin/sh', '-c', `${COMMON}${script}`, flavour, ...settings]
  return { flavour, port, password, command, environment: { PASSWORD: password } }
}

function settingsOf(flavour: Flavour): string[] {
  if (flavour === 'postgres') return postgres.SETTINGS.flatMap((setting) => ['-c', setting])
  return [...family.SETTINGS, ...(flavour === 'mysql' ? family.MYSQL_SETTINGS : [])]
}

function serverOf(flavour: Flavour): string {
  return flavour === 'mariadb' ? 'mariadbd' : 'mysqld'
}

function officialLogin(flavour: Flavour, password: string): Record<string, string> {
  if (flavour === 'postgres') return { POSTGRES_PASSWORD: password }
  const prefix = flavour === 'mariadb' ? 'MARIADB' : 'MYSQL'
  return { [`${prefix}_ROOT_PASSWORD`]: password, [`${prefix}_ROOT_HOST`]: '%' }
}

/**
 * The scripts run again when a killed container is started again, and must then find the data. The
 * folder `data` therefore appears by a rename, once it is whole. Every image has the account nobody.
 */
const COMMON = `set -e
home=/var/lib/unanimous
as() { setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }
mkdir -p $home /var/run/postgresql
chown 65534:65534 $home
cd $home
`

const POSTGRES = `bin=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
if [ ! -d data ]; then
  rm -rf new
  printf %s "$PASSWORD" > password
  as $bin/initdb -D new -U postgres -A scram-sha-256 --pwfile=password --no-locale -E UTF8
  echo 'host all all all scram-sha-256' >> new/pg_hba.conf
  mv new data
fi
exec setpriv --reuid=65534 --regid=65534 --clear-groups $bin/postgres -D data \\
  -c listen_addresses='*' -c unix_socket_directories= "$@"
`

const LOGINS = `cat > logins.sql <<END
FLUSH PRIVILEGES;
ALTER USER 'root'@'localhost' IDENTIFIED BY '$PASSWORD';
CREATE USER 'root'@'%' IDENTIFIED BY '$PASSWORD';
GRANT ALL PRIVILEGES ON *.* TO 'root'@'%' WITH GRANT OPTION;
END
`

const SERVE = `exec setpriv --reuid=65534 --regid=65534 --clear-groups $server --no-defaults \\
  --datadir=$home/data --bind-address=0.0.0.0 --socket=$home/s --pid-file=$home/pid --tmpdir=$home "$@"
`

const MARIADB = `server=$(command -v mariadbd || command -v mysqld)
if [ ! -d data ]; then
  rm -rf new
  as mkdir new
  as mariadb-install-db --no-defaults --force --datadir=$home/new \\
    --auth-root-authentication-method=normal --skip-test-db
  ${LOGINS}
  as $server --no-defaults --datadir=$home/new --bootstrap < logins.sql
  mv new data
fi
${SERVE}`

const MYSQL = `server=$(command -v mysqld)
if [ ! -d data ]; then
  rm -rf new
  ${LOGINS}
  as $server --no-defaults --initialize-insecure --datadir=$home/new --secure-file-priv=NULL \\
    --init-file=$home/logins.sql
  mv new data
fi
${SERVE}`
