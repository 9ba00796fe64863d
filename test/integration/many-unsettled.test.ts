/** More unsettled transactions than a screen holds: pages that miss none, and recovery of all of them. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, it } from 'vitest'
import { z } from 'zod'
import { testDatabases } from '../support/databases.ts'
import { prepareMany, Unsettled } from '../support/many-unsettled.ts'

const { postgres, mysql } = await testDatabases()
const folder = await mkdtemp(join(tmpdir(), 'unanimous-many-'))
const many = await Unsettled.open(folder, postgres.url, mysql.url)
afterAll(async () => {
  await many.close()
  await rm(folder, { recursive: true, force: true })
})

const COUNT = 60
const Page = z.object({
  total: z.number(),
  next: z.string().nullable(),
  transactions: z.array(z.object({ gtrid: z.string() })),
})

async function page(after: string | null): Promise<z.infer<typeof Page>> {
  const more = after === null ? [] : ['--after', after]
  return Page.parse(JSON.parse((await many.cli('list', '--json', '--limit', '25', ...more)).out))
}

it('list shows every one of them once, page by page, whatever is settled in between', async () => {
  const gtrids = await prepareMany(many, COUNT, 'logged')
  const first = await page(null)
  expect([first.total, first.transactions.length]).toEqual([COUNT, 25])
  // The mark of the next page is settled before it is asked for.
  const mark = first.next ?? ''
  await many.cli('resolve', mark, '--commit', '--reason', 'a test', '--apply')
  const second = await page(mark)
  const third = await page(second.next)
  expect([second.total, third.total, third.next]).toEqual([COUNT - 1, COUNT - 1, null])
  const seen = [first, second, third].flatMap(({ transactions }) => transactions)
  expect(seen.map(({ gtrid }) => gtrid).toSorted()).toEqual(gtrids.toSorted())

  const { code, out } = await many.cli('recover', '--apply', '--wait', '10s', '--json')
  expect(code).toBe(0)
  const { done } = z.object({ done: z.array(z.unknown()) }).parse(JSON.parse(out))
  expect(done).toHaveLength(2 * (COUNT - 1))
})
