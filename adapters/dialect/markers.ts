/**
 * The table `unanimous_branch`: one row per branch that wrote, inserted by the branch itself.
 *
 * A row with state `committed` is visible only when its branch has committed. A row with state
 * `fenced` was put under the same key by a prover, so that the branch can never commit; it proves
 * the opposite (PROOF.md §3).
 */
export const MARKER_TABLE = 'unanimous_branch'
/**
 * Beside it, `unanimous_log`: which participants an incarnation of a log has used, a row each. It is
 * what `unanimous recover --from-databases` knows of a log that is lost (PROOF.md §5).
 */
export const LOG_TABLE = 'unanimous_log'
export const LOG_TABLE_GRANT = 'GRANT SELECT, INSERT ON the table unanimous_log TO the user'
export const COMMITTED = 'committed'
export const FENCED = 'fenced'

/** The least text that is greater than everything that begins with the prefix (ASCII, binary order). */
export function afterPrefix(prefix: string): string {
  return prefix.slice(0, -1) + String.fromCharCode(prefix.charCodeAt(prefix.length - 1) + 1)
}
