/** A request that cannot be met, and will not be by asking again. Thrown, it takes everything back. */
export class Refusal extends Error {
  override readonly name = 'Refusal'
  readonly status: 404 | 409 | 422

  constructor(status: Refusal['status'], message: string) {
    super(message)
    this.status = status
  }
}
