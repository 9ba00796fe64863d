/**
 * Asks the coordinator that holds a log. A command asks here first: only when nobody is there may it
 * open the log itself, and the log's lock is what decides that, not this.
 */
import { createConnection, type Socket } from 'node:net'
import type { Clock } from '../clock.ts'
import { messageOf, UnanimousError } from '../errors.ts'
import { withSocketPath } from '../log/socket-place.ts'
import {
  decodeLine,
  encodeLine,
  isRecord,
  type LiveRequest,
  type LiveRequests,
  type Part,
} from './wire.ts'

/** Between two lines of a coordinator that is well it takes 2 s at most. */
const SILENCE_MS = 10_000

export type LiveAnswer<N extends LiveRequest> =
  | { readonly kind: 'answered'; readonly result: LiveRequests[N]['result'] }
  /** No socket, or a dead owner's. */
  | { readonly kind: 'not-live' }

export interface AskOptions {
  readonly clock: Clock
  /** Called with each piece of the answer as it comes, for a progress display. */
  readonly onPart?: (part: Part) => void
}

/**
 * Sends one request to the coordinator of a log directory.
 *
 * @throws UnanimousError what the coordinator refuses with, or COORDINATOR_UNREACHABLE when there is
 * one and it cannot be asked
 */
export async function askLive<N extends LiveRequest>(
  directory: string,
  request: N,
  params: LiveRequests[N]['params'],
  options: AskOptions,
): Promise<LiveAnswer<N>> {
  const socket = await connect(directory)
  if (socket === undefined) return { kind: 'not-live' }
  try {
    const result = await converse(socket, encodeLine({ request, params }), options)
    // Both ends are of one version: the table of wire.ts says what the answer is.
    return { kind: 'answered', result: result as LiveRequests[N]['result'] }
  } finally {
    socket.destroy()
  }
}

async function connect(directory: string): Promise<Socket | undefined> {
  try {
    return await withSocketPath(directory, (path) => connected(createConnection(path)))
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? cause.code : undefined
    if (code === 'ENOENT' || code === 'ECONNREFUSED' || code === 'ENOTDIR') return undefined
    throw unreachable(`cannot be reached: ${messageOf(cause)}`, 'Run this as its user.', cause)
  }
}

function connected(socket: Socket): Promise<Socket> {
  return new Promise((resolve, reject) => {
    socket.once('error', reject)
    socket.once('connect', () => {
      socket.off('error', reject)
      resolve(socket)
    })
  })
}

function converse(socket: Socket, line: string, { clock, onPart }: AskOptions): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const parts: Part[] = []
    let text = ''
    let timer = clock.timer(SILENCE_MS, silent, true)
    function silent(): void {
      end(() =>
        reject(
          unreachable(
            `has not answered for ${SILENCE_MS / 1_000} s`,
            'Look whether its process is stopped, or busy.',
          ),
        ),
      )
    }
    const end = (how: () => void): void => {
      timer.clear()
      how()
    }
    const onLine = (received: string): void => {
      const { part, result, error } = decodeLine(received)
      if (error instanceof UnanimousError) end(() => reject(error))
      else if (result !== undefined) end(() => resolve(assemble(result, parts)))
      else if (isRecord(part)) {
        parts.push(part as Part)
        onPart?.(part as Part)
      }
    }
    socket.setEncoding('utf8')
    socket.on('data', (chunk: string) => {
      timer.clear()
      timer = clock.timer(SILENCE_MS, silent, true)
      const lines = `${text}${chunk}`.split('\n')
      text = lines.pop() ?? ''
      try {
        for (const each of lines) onLine(each)
      } catch (cause) {
        end(() => reject(cause))
      }
    })
    const gone = (cause?: unknown): void =>
      end(() =>
        reject(unreachable('ended the connection without an answer', 'Run this again.', cause)),
      )
    socket.once('error', gone)
    socket.once('close', () => gone())
    socket.write(line)
  })
}

/** Puts the pieces in front of what the result holds of each array, wherever in it that is. */
function assemble(result: unknown, parts: readonly Part[]): unknown {
  if (!isRecord(result) || parts.length === 0) return result
  const pieces = new Map<string, unknown[]>()
  for (const part of parts) {
    for (const [name, piece] of Object.entries(part)) {
      const all = pieces.get(name) ?? []
      for (const each of piece) all.push(each)
      pieces.set(name, all)
    }
  }
  return fill(result, pieces)
}

function fill(
  record: Readonly<Record<string, unknown>>,
  pieces: ReadonlyMap<string, readonly unknown[]>,
): object {
  return Object.fromEntries(
    Object.entries(record).map(([name, value]) => {
      const piece = pieces.get(name)
      if (Array.isArray(value)) return [name, [...(piece ?? []), ...(value as unknown[])]]
      return [name, isPlain(value) ? fill(value, pieces) : value]
    }),
  )
}

function isPlain(value: unknown): value is Readonly<Record<string, unknown>> {
  return isRecord(value) && !(value instanceof UnanimousError)
}

function unreachable(what: string, hint: string, cause?: unknown): UnanimousError {
  return new UnanimousError('COORDINATOR_UNREACHABLE', `the coordinator of this log ${what}`, {
    hint,
    cause,
  })
}
