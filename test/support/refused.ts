/** What a caller hears when a transaction does not commit. */
import { expect } from 'vitest'
import { TransactionError } from '../../src/errors.ts'
import type { Outcome } from '../../src/protocol/vocabulary.ts'

export interface Expected {
  readonly code?: string
  readonly outcome?: Outcome
  readonly retryable?: boolean
  /** `false` where the server's own words are all there is to say. */
  readonly hint?: false
}

/** The error that `asked` must end with, once it has the expected shape. */
export async function refused(
  asked: Promise<unknown>,
  { hint, ...expected }: Expected,
): Promise<TransactionError> {
  const error = await asked.then(
    (value) => expect.fail(`it was not refused, it answered ${String(value)}`),
    (cause: unknown) => cause,
  )
  if (!(error instanceof TransactionError)) throw error
  expect(error).toMatchObject(expected)
  expect(error.message).toMatch(/^\S.*\S$/)
  if (hint !== false) expect(error.hint).toMatch(/\w+/)
  return error
}
