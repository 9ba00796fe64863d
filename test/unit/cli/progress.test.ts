/** How far long work has come: a line that is written over on a terminal, lines elsewhere. */
import { expect, it } from 'vitest'
import type { Io } from '../../../src/cli/io.ts'
import { Progress } from '../../../src/cli/progress.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'

function world(interactive: boolean) {
  const clock = new VirtualClock()
  let shown = ''
  const io: Io = {
    cwd: '/',
    clock,
    interactive,
    out: () => expect.unreachable('progress is no data'),
    err: (text) => {
      shown += text
    },
    paint: (_, text) => text,
  }
  const progress = new Progress(io, 'settled')
  /** Steps of 10 ms each. */
  const work = async (steps: number): Promise<void> => {
    for (let step = 0; step < steps; step += 1) {
      await clock.advance(10)
      progress.step()
    }
  }
  const taken = (): string => {
    const text = shown
    shown = ''
    return text
  }
  return { progress, work, taken }
}

it('says nothing of work that is over within a second', async () => {
  const { progress, work, taken } = world(true)
  await work(99)
  progress.end()
  expect(taken()).toBe('')
})

it('writes one line over on a terminal, five times a second, and leaves it empty', async () => {
  const { progress, work, taken } = world(true)
  await work(100)
  expect(taken()).toBe('\r100 settled, 100 a second\u001b[K')
  await work(19)
  expect(taken()).toBe('')
  await work(1)
  expect(taken()).toBe('\r120 settled, 100 a second\u001b[K')
  progress.end()
  expect(taken()).toBe('\r\u001b[K')
  progress.end()
  expect(taken()).toBe('')
})

it('adds a line every five seconds elsewhere, without a control character', async () => {
  const { progress, work, taken } = world(false)
  await work(599)
  expect(taken()).toBe('100 settled, 100 a second\n')
  await work(1)
  expect(taken()).toBe('600 settled, 100 a second\n')
  progress.end()
  expect(taken()).toBe('')
})
