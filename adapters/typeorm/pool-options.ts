/** What a data source was told about connections must be what the pool was made with. */
import { UnanimousError } from '../../src/adapter.ts'

/**
 * Silence would be worse than a refusal: without `supportBigNumbers` the id of a row loses its last
 * digits on the way, and TypeORM updates another one.
 *
 * @throws UnanimousError INVALID_OPTION
 */
export function refuseOther(asked: object, ...made: readonly object[]): void {
  const other = Object.entries(asked).filter(
    ([name, value]) =>
      value !== undefined && !made.some((options) => optionOf(options, name) === value),
  )
  if (other.length > 0) throw refusal(other.map(said).join(', '))
}

export function refusal(options: string): UnanimousError {
  return new UnanimousError('INVALID_OPTION', `TypeORM is told what the pool was not: ${options}`, {
    hint: 'make the pool with it, or leave it out of the data source',
  })
}

/** A flag with its value; anything else might be a secret. */
function said([name, value]: readonly [string, unknown]): string {
  return typeof value === 'boolean' ? `${name}: ${String(value)}` : name
}

function optionOf(options: object, name: string): unknown {
  return (options as Readonly<Record<string, unknown>>)[name]
}
