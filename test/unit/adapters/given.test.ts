/** What may be given in advance, as it is read before anything is sent. */
import { describe, expect, it } from 'vitest'
import { checkGiven, withoutEnd } from '../../../adapters/dialect/given.ts'

const DIALECTS = ['PostgreSQL', 'MySQL'] as const
const check = (text: unknown, dialect: (typeof DIALECTS)[number]) => () =>
  checkGiven([{ text: 'select 1' }, { text: text as string }], dialect, 'ledger', 'gtrid')

describe.each(DIALECTS)('statements given in advance to %s', (dialect) => {
  it.each([
    ['select 1'],
    ['  update a set b = 1 ; '],
    ["insert into a values ('x; commit')"],
    ['select 1 -- and; no more'],
    ['/* why; */ delete from a'],
    ['with a as (select 1) select * from a;;'],
    ['set local lock_timeout = 1'],
  ])('may be: %s', (text) => {
    expect(check(text, dialect)).not.toThrow()
  })

  it.each([
    ['commit'],
    ['BEGIN'],
    ['start transaction'],
    ['/* tidy */ rollback'],
    ['savepoint a'],
    ['release savepoint a'],
    ['rollback to savepoint a'],
    ['set transaction isolation level serializable'],
    ['xa end 1'],
    ['commit; select 1'],
  ])('are no transaction control: %s', (text) => {
    expect(check(text, dialect)).toThrow(
      expect.objectContaining({ code: 'TRANSACTION_CONTROL', outcome: 'rolled-back' }),
    )
  })

  it.each([
    ['select 1; select 2'],
    ['select 1; commit'],
    ["select 'a'; commit; select 'b'"],
    ['select 1; -- note'],
    ['select 1;/* */commit'],
    [''],
    [' ; '],
    ['-- nothing'],
    [undefined],
    [5],
    [{ text: 'select 1' }],
  ])('are one each: %s', (text) => {
    expect(check(text, dialect)).toThrow(
      expect.objectContaining({ code: 'INVALID_OPTION', outcome: 'rolled-back' }),
    )
  })
})

it('an end is taken off, and nothing else', () => {
  expect(withoutEnd("select ';' ; \n;")).toBe("select ';'")
})
