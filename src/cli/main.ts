#!/usr/bin/env node
/**
 * The executable: joins the command line to this process. The only place that ends it.
 *
 * An interruption may end it at any instruction: whatever was settled stays settled, and the next run
 * goes on from there.
 */
import { styleText } from 'node:util'
import { systemClock } from '../clock.ts'
import { EXIT } from './exit-codes.ts'
import type { Io } from './io.ts'
import { runCli } from './program.ts'
import { CLEAR_LINE } from './progress.ts'

const io: Io = {
  cwd: process.cwd(),
  clock: systemClock,
  interactive: Boolean(process.stderr.isTTY),
  out: (text) => void process.stdout.write(text),
  err: (text) => void process.stderr.write(text),
  paint: (style, text) => styleText(style, text, { stream: process.stdout }),
}

process.once('SIGINT', () => {
  // Over the progress, and what the terminal makes of the key.
  if (io.interactive) process.stderr.write(CLEAR_LINE)
  process.stderr.write('Interrupted. What was settled stays settled: run the command again.\n')
  process.exit(EXIT.interrupted)
})
// A reader that has seen enough (`| head`) must not end a recovery half-way.
for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined)
// The clock's timers keep no process running, and a command may wait for nothing else.
setInterval(() => undefined, 60_000)

const code = await runCli(process.argv.slice(2), io)
// A pool that the configuration leaves open would keep the process running.
process.stdout.write('', () => process.stderr.write('', () => process.exit(code)))
