/** Drivers report from their sockets; what they report belongs to whoever asked. */
import { AsyncResource } from 'node:async_hooks'

/** Calls a function in the context that the caller of {@link keepContext} had. */
export type InContext = <A extends readonly unknown[], R>(call: (...args: A) => R, ...args: A) => R

/**
 * The caller's context, for calls that will be made elsewhere. A tenth of what
 * `AsyncLocalStorage.snapshot()` costs on Node.js 20, once a statement.
 */
export function keepContext(): InContext {
  const asked = new AsyncResource('unanimous.statement')
  return (call, ...args) => asked.runInAsyncScope(() => call(...args))
}
