/**
 * One connection from a process to a server, and what a network does to it. Every request has a fate
 * that the seed draws when it is sent:
 *
 *   whole        carried out, and answered at that instant or later
 *   lost before  the client hears that the connection is gone; nothing was carried out
 *   lost after   carried out; the client hears that the connection is gone
 *   late         the client hears so first; the server carries it out afterwards
 *   silent       carried out or not; the client hears nothing, and gives up in its own time
 *
 * A connection carries one request after the other, and all of them die with it.
 */
import { ServerError, type Session, type SimServer } from './server.ts'
import { type Owner, Violation, type World } from './world.ts'

export interface NetworkFaults {
  lostBefore: number
  lostAfter: number
  late: number
  silent: number
  /** The answer takes a while of its own. */
  slowAnswer: number
  /** Longest time of a request, in ms; most take a tenth of it. */
  slowMs: number
  /** A server may take long to notice that a client is gone. */
  halfOpen: number
}

export const QUIET: NetworkFaults = {
  lostBefore: 0,
  lostAfter: 0,
  late: 0,
  silent: 0,
  slowAnswer: 0,
  slowMs: 2,
  halfOpen: 0,
}

/** How long a client waits for an answer to one of its verbs, in ms. */
export const ANSWER_MS = 2_000

/** The answer was lost, or there is no server. */
export class Lost extends Error {
  override readonly name = 'Lost'
}

export interface Network {
  readonly world: World
  faults: NetworkFaults
  readonly onFault: (kind: string) => void
  /** Requests that were sent and not carried out, for a server's death and for checks. */
  underWay: number
}

type Execute<T> = (
  session: Session,
  done: (answer: T) => void,
  failed: (error: ServerError) => void,
) => void

export class Connection {
  readonly #network: Network
  readonly #server: SimServer
  readonly #owner: Owner
  readonly #life: number
  session: Session | undefined
  #broken: Lost | undefined
  #busy = false
  /** What waits for an answer hears that there will be none. */
  #drop: (cause: Lost) => void = () => undefined
  readonly #onBroken: (connection: Connection) => void

  constructor(
    network: Network,
    server: SimServer,
    owner: Owner,
    onBroken: (connection: Connection) => void,
  ) {
    this.#network = network
    this.#server = server
    this.#owner = owner
    this.#life = server.life
    this.#onBroken = onBroken
  }

  get broken(): Lost | undefined {
    return this.#broken
  }

  /** Sends a statement that takes effect at one instant. */
  ask<T>(verb: string, execute: (session: Session) => T): Promise<T> {
    return this.send(verb, (session, done) => done(execute(session)))
  }

  /**
   * Sends a statement that the server answers when it can.
   *
   * @throws Lost or ServerError
   */
  send<T>(verb: string, execute: Execute<T>): Promise<T> {
    if (this.#broken !== undefined) return Promise.reject(this.#broken)
    if (this.#busy) throw new Violation(`${this.#server.name}: ${verb} while another one runs`)
    this.#busy = true
    return new Promise<T>((resolve, reject) => {
      const heard = (): boolean => {
        this.#busy = false
        return this.#owner.alive
      }
      const failed = (cause: unknown): void => {
        if (heard()) reject(cause)
      }
      this.#drop = failed
      this.#transmit(verb, execute, (answer) => heard() && resolve(answer), failed)
    })
  }

  get busy(): boolean {
    return this.#busy
  }

  /** The client closes, or dies: the server notices some time later. */
  destroy(): void {
    if (this.#broken === undefined) this.#break(new Lost('the connection was closed'))
  }

  #transmit<T>(
    verb: string,
    execute: Execute<T>,
    resolve: (answer: T) => void,
    reject: (cause: unknown) => void,
  ): void {
    const { world, faults } = this.#network
    const { rng } = world
    const tag = `${this.#server.name} ${verb}`
    const travelMs = this.#travelMs()
    const fate = drawFate(rng.float(), faults)
    if (fate !== 'whole') this.#network.onFault(`network: ${fate}`)
    const lose = (delayMs: number): void => {
      world.schedule(
        delayMs,
        `${tag} lost`,
        () => reject(this.#break(new Lost(`${tag} was lost`))),
        this.#owner,
      )
    }
    switch (fate) {
      case 'whole':
        this.#arrive(
          tag,
          travelMs,
          execute,
          (answer) => {
            if (!rng.chance(faults.slowAnswer)) return answer(resolve, reject)
            const life = this.#server.life
            world.schedule(
              this.#travelMs(),
              `${tag} answered`,
              () => {
                if (life === this.#server.life || rng.chance(0.5)) answer(resolve, reject)
                else reject(this.#break(new Lost(`${tag} lost its answer`)))
              },
              this.#owner,
            )
          },
          reject,
        )
        return
      case 'lost before':
        lose(travelMs)
        return
      case 'lost after':
        this.#arrive(tag, travelMs, execute, () => lose(this.#travelMs()), reject)
        return
      case 'late':
        lose(travelMs)
        this.#arrive(
          tag,
          travelMs + rng.between(0, rng.pick([5, 50, 1_000])),
          execute,
          () => undefined,
          () => undefined,
        )
        return
      case 'silent':
        if (rng.chance(0.5))
          this.#arrive(
            tag,
            travelMs,
            execute,
            () => undefined,
            () => undefined,
          )
        lose(ANSWER_MS)
    }
  }

  /** The request reaches the server, whoever still waits for its answer. */
  #arrive<T>(
    tag: string,
    delayMs: number,
    execute: Execute<T>,
    answered: (
      answer: (resolve: (value: T) => void, reject: (cause: unknown) => void) => void,
    ) => void,
    reject: (cause: unknown) => void,
  ): void {
    const { world } = this.#network
    const server = this.#server
    const sentAt = world.now
    let gaveUp = false
    const giveUp = (why: string): void => {
      gaveUp = true
      if (this.#owner.alive) reject(this.#break(new Lost(`${tag}: ${why}`)))
    }
    const reached = (): void => {
      if (server.frozenUntil > world.now) {
        const frozenMs = server.frozenUntil - world.now
        const patienceMs = ANSWER_MS - (world.now - sentAt)
        if (frozenMs > patienceMs && !gaveUp) {
          gaveUp = true
          world.schedule(
            Math.max(0, patienceMs),
            `${tag} not answered`,
            () => giveUp('no answer'),
            this.#owner,
          )
        }
        world.schedule(frozenMs + world.rng.between(0, 3), tag, reached)
        return
      }
      if (!server.up || server.life !== this.#life) {
        giveUp('there is no such server')
        return
      }
      // A connection that was closed before its first request arrived begins nothing.
      if (this.session === undefined && this.#broken === undefined) this.session = server.connect()
      const { session } = this
      if (session?.alive !== true) {
        giveUp('the session is over')
        return
      }
      this.#network.underWay -= 1
      try {
        execute(
          session,
          (value) => gaveUp || answered((resolve) => resolve(value)),
          (error) => gaveUp || answered((_, fail) => fail(error)),
        )
      } catch (cause) {
        if (!(cause instanceof ServerError)) throw cause
        if (!gaveUp) answered((_, fail) => fail(cause))
      }
    }
    this.#network.underWay += 1
    world.schedule(delayMs, tag, reached)
  }

  #break(cause: Lost): Lost {
    if (this.#broken !== undefined) return this.#broken
    this.#broken = cause
    this.#drop(cause)
    this.#onBroken(this)
    const { world, faults, onFault } = this.#network
    const { rng } = world
    const halfOpen = rng.chance(faults.halfOpen)
    if (halfOpen) onFault('half-open session')
    const delayMs = halfOpen ? rng.between(100, 20_000) : rng.between(0, rng.pick([1, 30, 500]))
    world.schedule(delayMs, `${this.#server.name} misses a client`, () => {
      if (this.session !== undefined) this.#server.endSession(this.session)
    })
    return cause
  }

  #travelMs(): number {
    const { rng } = this.#network.world
    const { slowMs } = this.#network.faults
    return rng.chance(0.9) ? rng.between(0, slowMs / 10) : rng.between(0, slowMs)
  }
}

type Fate = 'whole' | 'lost before' | 'lost after' | 'late' | 'silent'

function drawFate(draw: number, { lostBefore, lostAfter, late, silent }: NetworkFaults): Fate {
  if (draw < lostBefore) return 'lost before'
  if (draw < lostBefore + lostAfter) return 'lost after'
  if (draw < lostBefore + lostAfter + late) return 'late'
  if (draw < lostBefore + lostAfter + late + silent) return 'silent'
  return 'whole'
}
