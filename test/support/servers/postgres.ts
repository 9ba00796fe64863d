/**
 * PostgreSQL: initdb, and the settings that two-phase commit needs. Everything that decides about
 * durability (fsync, synchronous_commit, full_page_writes) stays as PostgreSQL ships it.
 */
import { join } from 'node:path'
import type { Build } from './build.ts'
import type { Place } from './recipe.ts'
import { run } from './run.ts'

/** Settings every PostgreSQL gets, containers included. */
export const SETTINGS = ['max_prepared_transactions=200', 'max_connections=300']

export async function initialise(build: Build, place: Place): Promise<void> {
  const data = ['-D', join(place.folder, 'data'), '-U', 'postgres', '--no-locale', '-E', 'UTF8']
  const login = ['-A', 'scram-sha-256', `--pwfile=${join(place.folder, 'password')}`]
  const program = build.initdb ?? []
  await run([...program, ...data, ...login], {
    account: place.account,
    cwd: place.folder,
    env: build.env,
  })
}

export function command(
  build: Build,
  folder: string,
  port: number,
  own: readonly string[] = SETTINGS,
): string[] {
  const settings = [
    'listen_addresses=127.0.0.1',
    'unix_socket_directories=',
    // Files in the data folder, so that a killed server leaves nothing in /dev/shm.
    'dynamic_shared_memory_type=mmap',
    ...own,
  ]
  const options = settings.flatMap((setting) => ['-c', setting])
  return [...build.server, '-D', join(folder, 'data'), '-p', String(port), ...options]
}

export function url(password: string, host: string, port: number): string {
  return `postgres://postgres:${password}@${host}:${port}/postgres`
}
