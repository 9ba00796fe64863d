/**
 * The table `unanimous_branch`: one row per branch that wrote, inserted by the branch itself.
 *
 * A row with state `committed` is visible only when its branch has committed. A row with state
 * `fenced` was put under the same key by a prover, so that the branch can never commit; it proves
 * the opposite (PROOF.md §3).
 */
export const MARKER_TABLE = 'unanimous_branch'
export const COMMITTED = 'committed'
export const FENCED = 'fenced'

/** The least text that is greater than everything that begins with the prefix (ASCII, binary order). */
export function afterPrefix(prefix: string): string {
  return prefix.slice(0, -1) + String.fromCharCode(prefix.charCodeAt(prefix.length - 1) + 1)
}
