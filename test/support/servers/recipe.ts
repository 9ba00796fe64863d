/** What differs between the servers: how data are initialised, and how the server is started. */
import type { Account } from './account.ts'
import type { Build } from './build.ts'
import * as mysqlFamily from './mysql-family.ts'
import * as postgres from './postgres.ts'
import type { Flavour } from './server.ts'

export interface Recipe {
  /** Fills `data`, which does not exist yet; the superuser's password is in the file `password`. */
  initialise(build: Build, place: Place): Promise<void>
  /** @param settings - see StartOptions */
  command(
    build: Build,
    folder: string,
    port: number,
    settings: readonly string[] | undefined,
  ): string[]
  url(password: string, host: string, port: number): string
}

export interface Place {
  /** Belongs to the account; holds the file `password`, and will hold `data`. */
  readonly folder: string
  readonly password: string
  readonly account: Account | undefined
}

export function recipeOf(flavour: Flavour): Recipe {
  return flavour === 'postgres' ? postgres : mysqlFamily
}
