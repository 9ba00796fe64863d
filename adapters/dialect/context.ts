/** Drivers report from their sockets; what they report belongs to whoever asked. */
import { AsyncLocalStorage } from 'node:async_hooks'

/** Calls a function in the context that the caller of {@link keepContext} had. */
export type InContext = <A extends readonly unknown[], R>(call: (...args: A) => R, ...args: A) => R

/** The caller's context, for calls that will be made elsewhere. */
export function keepContext(): InContext {
  return AsyncLocalStorage.snapshot()
}
