/**
 * Large buffers of one seed serve the next one. A log takes segments, and memory outside of the heap
 * makes V8 collect all of it every few seeds, which throws compiled code away too: half of the time
 * of a seed went there.
 */

/** What Node takes from no pool of its own. */
const LARGE_BYTES = 4096

const free = new Map<number, Buffer<ArrayBuffer>[]>()
const taken: Buffer<ArrayBuffer>[] = []
/** What a module takes when it is loaded stays its own. */
let lending = false
const alloc = Buffer.alloc.bind(Buffer)
const allocUnsafe = Buffer.allocUnsafe.bind(Buffer)

Buffer.alloc = (size, fill, encoding) => {
  if (!lending || size < LARGE_BYTES) return alloc(size, fill, encoding)
  const buffer = take(size)
  if (typeof fill === 'string') buffer.fill(fill, encoding ?? 'utf8')
  else buffer.fill(fill ?? 0)
  return buffer
}
Buffer.allocUnsafe = (size) => (!lending || size < LARGE_BYTES ? allocUnsafe(size) : take(size))

/** From now on large buffers are lent. */
export function lendBuffers(): void {
  lending = true
}

/** Takes every buffer that was lent back: between two seeds, when nothing runs. */
export function takeBuffersBack(): void {
  lending = false
  for (const buffer of taken) free.get(buffer.length)?.push(buffer)
  taken.length = 0
}

function take(size: number): Buffer<ArrayBuffer> {
  let buffers = free.get(size)
  if (buffers === undefined) {
    buffers = []
    free.set(size, buffers)
  }
  const buffer = buffers.pop() ?? Buffer.allocUnsafeSlow(size)
  taken.push(buffer)
  return buffer
}
