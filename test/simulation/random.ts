/**
 * Chance from a seed: the only source of it in the simulator. sfc32, which passes PractRand and
 * costs a few instructions; a hash of the events tells whether two runs were the same.
 */
export class Rng {
  #a: number
  #b: number
  #c: number
  #d: number

  constructor(seed: number) {
    this.#a = 0x9e3779b9
    this.#b = 0x243f6a88
    this.#c = seed | 0
    this.#d = Math.floor(seed / 2 ** 32) | 1
    for (let round = 0; round < 12; round += 1) this.next()
  }

  /** 32 random bits. */
  next(): number {
    const sum = (((this.#a + this.#b) | 0) + this.#d) | 0
    this.#d = (this.#d + 1) | 0
    this.#a = this.#b ^ (this.#b >>> 9)
    this.#b = (this.#c + (this.#c << 3)) | 0
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + sum) | 0
    return sum >>> 0
  }

  /** From 0 to less than 1. */
  float(): number {
    return this.next() / 2 ** 32
  }

  /** From `low` to less than `high`. */
  between(low: number, high: number): number {
    return low + this.float() * (high - low)
  }

  /** A whole number from 0 to less than `count`. */
  int(count: number): number {
    return Math.floor(this.float() * count)
  }

  chance(probability: number): boolean {
    return probability > 0 && this.float() < probability
  }

  pick<T>(list: readonly [T, ...T[]]): T {
    return list[this.int(list.length)] ?? list[0]
  }

  bytes(count: number): Uint8Array {
    const bytes = new Uint8Array(count)
    for (let at = 0; at < count; at += 1) bytes[at] = this.next() >>> 24
    return bytes
  }
}

/** A running hash of texts, of two times 32 bits. */
export class TraceHash {
  #low = 0xdeadbeef
  #high = 0x41c6ce57

  add(text: string): void {
    let low = this.#low
    let high = this.#high
    for (let at = 0; at < text.length; at += 1) {
      const code = text.charCodeAt(at)
      low = Math.imul(low ^ code, 2654435761)
      high = Math.imul(high ^ code, 1597334677)
    }
    this.#low = low ^ (high >>> 16)
    this.#high = high ^ (low >>> 13)
  }

  get text(): string {
    const hex = (half: number): string => (half >>> 0).toString(16).padStart(8, '0')
    return hex(this.#high) + hex(this.#low)
  }
}
