/**
 * Stands for `node:async_hooks` in the processes of the simulator. What a simulated application does
 * goes through the handles of its transaction, so nobody asks which one is around; and before
 * Node 24 an AsyncLocalStorage costs a hook for every promise, a third of a seed's time. Seeds lead to
 * the same events with the real one: `npm test` runs them with it.
 */
export class AsyncLocalStorage<T> {
  run<R>(_store: T, work: () => R): R {
    return work()
  }

  getStore(): T | undefined {
    return undefined
  }

  disable(): void {}
}
