/** A statement's turn at a branch's one connection, and what is said in its stead. */
import type { Control } from './control.ts'
import type { Issuer } from './nesting.ts'

/** What is said in the application's stead. */
export interface Instead {
  /** At least one; the last one's answer is the application's. Empty: any statement without effect. */
  readonly texts: readonly string[]
  /** The command tag that the application expects. */
  readonly tag: string
}

/** A statement's right to the connection. */
export interface Turn {
  readonly instead: Instead | undefined
  /** It needs nothing more from the application to end: a result that is being closed. */
  closing(): void
  end(succeeded: boolean): void
}

export interface Planned {
  readonly instead: Instead | undefined
  end(succeeded: boolean): void
}

/** A statement of the application, or of ours in its stead, until it has returned. */
export class Running implements Turn {
  readonly issuer: Issuer
  /** It ends only when the application has read or closed it. */
  readonly open: boolean
  /** Resolves when those before it have returned; `undefined` when they have. */
  readonly before: Promise<void> | undefined
  control: Control | undefined
  isClosing = false
  planned: Planned | undefined
  readonly #onReturn: (self: Running) => void
  #returned: Promise<void> | undefined
  #tell: (() => void) | undefined

  constructor(
    issuer: Issuer,
    open: boolean,
    before: Promise<void> | undefined,
    onReturn: (self: Running) => void,
  ) {
    this.issuer = issuer
    this.open = open
    this.before = before
    this.#onReturn = onReturn
  }

  get instead(): Instead | undefined {
    return this.planned?.instead
  }

  closing(): void {
    this.isClosing = true
  }

  end(succeeded: boolean): void {
    this.planned?.end(succeeded)
    this.finish()
  }

  finish(): void {
    this.#onReturn(this)
    this.#tell?.()
  }

  /** Of one that has not returned yet; nobody asks for it where statements come one by one. */
  returned(): Promise<void> {
    this.#returned ??= new Promise((resolve) => {
      this.#tell = resolve
    })
    return this.#returned
  }
}
