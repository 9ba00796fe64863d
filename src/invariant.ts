/** Our own reasoning failed: the only honest thing left is to stop. Never used for a user's input. */
export class InvariantError extends Error {
  override readonly name = 'InvariantError'
}

/**
 * Stops when something that this project proved cannot happen has happened.
 *
 * @throws InvariantError with the given message
 */
export function invariant(condition: boolean, message: string): asserts condition {
  if (!condition) throw new InvariantError(`invariant broken: ${message}`)
}
