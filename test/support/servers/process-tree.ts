/**
 * Processes by id: who descends from whom, ending a whole tree, waiting for it to be gone.
 *
 * A zombie counts as gone: it holds no file, socket or memory any more, and in a container whose
 * first process reaps nobody it would stay for ever.
 */
import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

/** PostgreSQL's children notice the death of their parent and leave by themselves within this. */
const GRACE_MS = 1000
const LIMIT_MS = 10_000

interface Entry {
  readonly pid: number
  readonly parent: number
  readonly zombie: boolean
}

/** SIGKILL to the process; resolves when it and all its descendants are gone. */
export async function killTree(pid: number): Promise<void> {
  const family = [pid, ...descendants(pid)]
  signal(pid, 'SIGKILL')
  const started = Date.now()
  for (let left = family.filter(isAlive); left.length > 0; left = left.filter(isAlive)) {
    const waited = Date.now() - started
    if (waited > LIMIT_MS) throw new Error(`processes ${left.join(', ')} do not end`)
    if (waited > GRACE_MS) for (const member of left) signal(member, 'SIGKILL')
    await sleep(5)
  }
}

/** Signals the process first and then its descendants, so that a stopped parent adds no child. */
export function signalTree(pid: number, name: 'SIGSTOP' | 'SIGCONT'): void {
  signal(pid, name)
  for (const member of descendants(pid)) signal(member, name)
}

/**
 * SIGSTOP; resolves when nothing of the tree runs any more. On a loaded machine the threads of a server may
 * answer for a while longer: the signal takes effect when one of them is next scheduled. Until then a parent
 * may add a child, which has to be told as well.
 */
export async function stopTree(pid: number): Promise<void> {
  const started = Date.now()
  for (;;) {
    const running = [pid, ...descendants(pid)].filter((member) => !standsStill(member))
    if (running.length === 0) return
    if (Date.now() - started > LIMIT_MS) throw new Error(`process ${pid} does not stop`)
    for (const member of running) signal(member, 'SIGSTOP')
    await sleep(2)
  }
}

/** Whether every thread has stopped; where that cannot be seen, what was sent has to do. */
function standsStill(pid: number): boolean {
  if (process.platform !== 'linux') return true
  try {
    return readdirSync(`/proc/${pid}/task`).every((thread) => {
      const text = readFileSync(`/proc/${pid}/task/${thread}/stat`, 'utf8')
      return 'TtZX'.includes(text[text.lastIndexOf(')') + 2] ?? 'R')
    })
  } catch {
    // A thread or the process ended meanwhile: look again.
    return !isAlive(pid)
  }
}

function descendants(pid: number): number[] {
  const entries = listProcesses()
  const family = [pid]
  for (const member of family) {
    for (const entry of entries) if (entry.parent === member) family.push(entry.pid)
  }
  return family.slice(1)
}

function isAlive(pid: number): boolean {
  return readEntry(pid)?.zombie === false
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

function listProcesses(): Entry[] {
  if (process.platform !== 'linux') return ps('-A')
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name))
  return pids.flatMap((pid) => readEntry(Number(pid)) ?? [])
}

/** @returns undefined when there is no such process. Not `ps` on Linux: slim images lack it. */
function readEntry(pid: number): Entry | undefined {
  if (process.platform !== 'linux') return ps('-p', String(pid))[0]
  try {
    // "pid (name) state parent …", and the name may hold blanks and parentheses.
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8')
    const [state, parent] = text.slice(text.lastIndexOf(')') + 2).split(' ')
    return { pid, parent: Number(parent), zombie: state === 'Z' }
  } catch {
    return undefined
  }
}

function ps(...selection: readonly string[]): Entry[] {
  const words = [...selection, '-o', 'pid=,ppid=,stat=']
  const { stdout } = spawnSync('ps', words, { encoding: 'utf8' })
  const lines = stdout.split('\n').filter((line) => line.trim() !== '')
  return lines.map((line) => {
    const [pid, parent, state] = line.trim().split(/\s+/)
    return { pid: Number(pid), parent: Number(parent), zombie: state?.startsWith('Z') ?? false }
  })
}
