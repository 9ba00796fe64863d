/**
 * The transactions that an application begins inside a branch, as savepoints on its one connection.
 *
 *   BEGIN               SAVEPOINT una_1
 *   COMMIT              RELEASE SAVEPOINT una_1
 *   ROLLBACK            ROLLBACK TO SAVEPOINT una_1; RELEASE SAVEPOINT una_1
 *   SAVEPOINT inner     SAVEPOINT una_2
 *
 * A savepoint of the application gets a name of ours, because query libraries number theirs within a
 * transaction: two transactions side by side both have a `typeorm_1`.
 *
 * Each client (a connection, as the application sees it) balances its own. Clients share the one
 * stack of savepoints that a connection has, so two rules keep them apart:
 *  1. A savepoint is released only when everything above it has ended too; until then its end is
 *     remembered. Releasing it would take those of other clients with it.
 *  2. A roll-back to a savepoint above which another client has worked is refused, and dooms the
 *     branch: it would undo what that client was told is done. Reads count as work, because a
 *     function or a trigger behind them may write.
 */
import type { Control } from './control.ts'

/** A connection as the application sees it: whose statements, whose transactions. */
export interface Client {
  /** Transactions that it has begun and not ended, by what it has asked so far. */
  open: number
  /** It was given back: what it left open is being rolled back. */
  released: boolean
}

export function newClient(): Client {
  return { open: 0, released: false }
}

interface Frame {
  /** On the server. */
  readonly name: string
  /** The application's name for it; `undefined` for a transaction. */
  readonly given: string | undefined
  /** The client that began or marked it; `undefined` for a savepoint of the whole transaction. */
  readonly owner: Client | undefined
  /** It stands for a transaction of the owner. */
  readonly begun: boolean
  /** Somebody else has worked above it. */
  foreign: boolean
  over: boolean
}

/** What to say instead of the application's statement, and what has then become true. */
export interface Step {
  /** `undefined`: the statement itself. Empty: nothing is to be said, yet something be answered. */
  readonly texts: readonly string[] | undefined
  /** Called when the server has confirmed. */
  readonly apply: () => void
}

/** Why a statement cannot be carried out here. */
export interface Conflict {
  readonly conflict: string
}

/** Whose statement, and behind which savepoints of the whole transaction. */
export interface Issuer {
  readonly client: Client | undefined
  readonly savepoints: readonly string[]
}

const INTERLEAVED = 'work of another connection of this branch would be undone with it'

export class Nesting {
  readonly #frames: Frame[] = []
  #count = 0

  /** Savepoints of the whole transaction that the branch does not have yet. */
  missing(savepoints: readonly string[]): readonly string[] {
    return savepoints.filter((name) => this.#ofTransaction(name) === undefined)
  }

  marked(savepoint: string): void {
    this.#frames.push({
      name: savepoint,
      given: undefined,
      owner: undefined,
      begun: false,
      foreign: false,
      over: false,
    })
  }

  /** A statement that is no transaction control is about to run. */
  work(issuer: Issuer): void {
    for (const frame of this.#frames) frame.foreign ||= !owns(issuer, frame)
  }

  /** Whether a transaction was begun and neither ended nor left to be rolled back. */
  get unended(): boolean {
    return this.#frames.some(
      ({ begun, over, owner }) => begun && !over && owner?.released === false,
    )
  }

  plan(issuer: Issuer, control: Exclude<Control, { kind: 'forbidden' | 'set' }>): Step | Conflict {
    switch (control.kind) {
      case 'begin':
        return this.#mark(issuer)
      case 'savepoint':
        return this.#mark(issuer, control.name)
      case 'commit':
        return this.#release(this.#transactionOf(issuer.client))
      case 'rollback':
        return this.#rollBack(this.#transactionOf(issuer.client))
      case 'release':
      case 'rollback to':
        return this.#named(issuer, control)
    }
  }

  /** Rolls back all that the client left open; `undefined` when that is nothing. */
  abandon(client: Client): Step | Conflict | undefined {
    const outermost = this.#frames.find(
      ({ owner, begun, over }) => owner === client && begun && !over,
    )
    return outermost === undefined ? undefined : this.#rollBack(outermost)
  }

  /** The end of a savepoint of the whole transaction; `undefined` when the branch does not have it. */
  endSavepoint(name: string, how: 'release' | 'rollback'): Step | Conflict | undefined {
    const frame = this.#ofTransaction(name)
    if (frame === undefined) return undefined
    return how === 'release' ? this.#release(frame) : this.#rollBack(frame)
  }

  #mark(issuer: Issuer, given?: string): Step {
    this.#count += 1
    const name = `una_${this.#count}`
    const owner = issuer.client
    const begun = given === undefined
    const frame: Frame = { name, given, owner, begun, foreign: false, over: false }
    return {
      texts: [`SAVEPOINT ${name}`],
      apply: () => {
        this.work(issuer)
        this.#frames.push(frame)
      },
    }
  }

  /** Ends a frame, and those of its owner above it; its savepoint goes once it is the topmost. */
  #release(frame: Frame | undefined): Step {
    if (frame === undefined) return NOTHING
    const at = this.#frames.indexOf(frame)
    const ends = (each: Frame, index: number): boolean =>
      each.over || (index >= at && each.owner === frame.owner)
    const base = this.#lowest(this.#frames.length, ends)
    const apply = (): void => {
      for (const [index, each] of this.#frames.entries()) each.over = ends(each, index)
      this.#frames.length = base
    }
    const name = this.#frames[base]?.name
    return { texts: name === undefined ? [] : [`RELEASE SAVEPOINT ${name}`], apply }
  }

  #rollBack(frame: Frame | undefined): Step | Conflict {
    if (frame === undefined) return NOTHING
    if (frame.foreign) return { conflict: INTERLEAVED }
    const at = this.#frames.indexOf(frame)
    const base = this.#lowest(at, (each) => each.over)
    const lowest = this.#frames[base]?.name ?? frame.name
    return {
      texts: [`ROLLBACK TO SAVEPOINT ${frame.name}`, `RELEASE SAVEPOINT ${lowest}`],
      apply: () => {
        this.#frames.length = base
      },
    }
  }

  /** The application's own RELEASE and ROLLBACK TO, of the newest savepoint that it gave this name. */
  #named(issuer: Issuer, control: Extract<Control, { name: string }>): Step | Conflict {
    const frame = this.#frames.findLast(
      ({ given, owner, over }) => given === control.name && owner === issuer.client && !over,
    )
    if (frame === undefined) {
      if (this.#frames.some(({ name, given }) => [name, given].includes(control.name))) {
        return { conflict: `${control.name} belongs to another connection` }
      }
      // Unknown to us, so perhaps to the server: it says so itself.
      return { texts: undefined, apply: () => undefined }
    }
    if (control.kind === 'release') return this.#release(frame)
    if (frame.foreign) return { conflict: INTERLEAVED }
    return {
      texts: [`ROLLBACK TO SAVEPOINT ${frame.name}`],
      apply: () => {
        this.#frames.length = this.#frames.indexOf(frame) + 1
      },
    }
  }

  #transactionOf(client: Client | undefined): Frame | undefined {
    return this.#frames.findLast(({ owner, begun, over }) => owner === client && begun && !over)
  }

  #ofTransaction(name: string): Frame | undefined {
    return this.#frames.find((frame) => frame.owner === undefined && frame.name === name)
  }

  /** Where the frames begin that reach up to `top` and have all ended. */
  #lowest(top: number, ended: (frame: Frame, index: number) => boolean): number {
    let base = top
    for (let at = top - 1; at >= 0; at -= 1) {
      const frame = this.#frames[at]
      if (frame === undefined || !ended(frame, at)) break
      base = at
    }
    return base
  }
}

/** The transaction was never begun on the server: there is nothing to end. */
const NOTHING: Step = { texts: [], apply: () => undefined }

function owns(issuer: Issuer, frame: Frame): boolean {
  if (frame.owner === undefined) return issuer.savepoints.includes(frame.name)
  return frame.owner === issuer.client
}
