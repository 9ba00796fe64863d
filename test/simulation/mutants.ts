import type { Mutant } from '../support/mutation.ts'

export interface ProtocolMutant extends Mutant {
  /** Of DESIGN's rules. */
  readonly rule: string
  /** Test file and the beginning of a title, for what the simulator cannot see. */
  readonly test?: readonly [string, string]
}

export const MUTANTS: readonly ProtocolMutant[] = []
