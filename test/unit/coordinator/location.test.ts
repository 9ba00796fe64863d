import { join } from 'node:path'
import { expect, it } from 'vitest'
import { fixed } from '../../../src/coordinator/location.ts'

it('a log stays where it was when the process changes its working directory', () => {
  const here = process.cwd()
  expect(fixed('./decisions')).toEqual({ directory: join(here, 'decisions') })
  expect(fixed({ directory: 'a/../b', lockWaitMs: 5 })).toEqual({
    directory: join(here, 'b'),
    lockWaitMs: 5,
  })
  expect(fixed({ root: 'decisions' })).toEqual({ root: join(here, 'decisions') })
  expect(fixed('/decisions')).toEqual({ directory: '/decisions' })
  // Refused where it is opened: it is not the working directory that is meant.
  expect(fixed('')).toEqual({ directory: '' })
})
