/**
 * One listener on a signal, however many transactions share it: Node warns of a leak at the eleventh,
 * and a service may well pass its one shutdown signal to all that it does.
 */
interface Following {
  readonly reactions: Set<() => void>
  readonly listener: () => void
}

const followed: WeakMap<AbortSignal, Following> = new WeakMap()

/** Calls `react` when the signal fires, unless the answered function was called before. */
export function follow(signal: AbortSignal, react: () => void): () => void {
  const following = followed.get(signal) ?? begin(signal)
  const { reactions, listener } = following
  reactions.add(react)
  return () => {
    if (!reactions.delete(react) || reactions.size > 0) return
    signal.removeEventListener('abort', listener)
    if (followed.get(signal) === following) followed.delete(signal)
  }
}

function begin(signal: AbortSignal): Following {
  const reactions = new Set<() => void>()
  const listener = (): void => {
    followed.delete(signal)
    for (const react of reactions) react()
  }
  const following = { reactions, listener }
  followed.set(signal, following)
  signal.addEventListener('abort', listener, { once: true })
  return following
}
