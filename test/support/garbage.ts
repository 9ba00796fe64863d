/** Collects garbage now: what the heap then has is held by somebody. Node.js hands this out only when asked. */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

setFlagsFromString('--expose-gc')
export const collectGarbage = runInNewContext('gc') as () => void
