import { expect, it, vi } from 'vitest'
import { type FacadeHost, facade } from '../../../adapters/mysql2/facade.ts'

// mysql2 3.15, which is the lowest that fits, has the classes of its promises by these names only.
vi.mock('mysql2/promise', async (original) => {
  const { PromisePool, PromiseConnection, PromisePoolConnection } =
    await original<Record<string, unknown>>()
  return { PromisePool, PromiseConnection, PromisePoolConnection }
})

it('asks mysql2 for nothing that its lowest version lacks', () => {
  expect(facade({} as FacadeHost)).toHaveProperty('query')
})
