/** What both dialects say of a transaction that is not as the server begins one. */
import type { IsolationLevel } from '../../src/adapter.ts'

/** Empty where it is as the server's default. */
export function transactionModes(isolation: IsolationLevel | undefined, readOnly: boolean): string {
  const access = readOnly ? 'READ ONLY' : ''
  if (isolation === undefined) return access
  const level = `ISOLATION LEVEL ${isolation.toUpperCase()}`
  return readOnly ? `${level}, ${access}` : level
}
