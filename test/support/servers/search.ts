/**
 * The order of search: the first provider whose running server meets the wish wins, and a refusal
 * names every way that was tried and why it did not do.
 *
 * Invariant: no server of the wrong flavour or version is ever handed out, whatever its provider
 * believed; it is stopped and the search goes on.
 */
import type { Provider, Report, Server, Wish } from './server.ts'
import { describeWish, meets, messageOf, Unavailable } from './server.ts'

/** @throws Unavailable that lists each way tried, its reason, and what would help. */
export async function search(
  providers: readonly Provider[],
  wish: Wish,
  report: Report,
): Promise<Server> {
  const refusals: string[] = []
  const hints: string[] = []
  for (const provider of providers) {
    try {
      const server = await checked(await provider.start(wish, report), wish)
      report(`${describeWish(wish)}: ${server.flavour} ${server.version}, ${server.source}`)
      return server
    } catch (error) {
      refusals.push(`${provider.name}: ${messageOf(error)}`)
      if (error instanceof Unavailable) {
        if (error.hint !== undefined) hints.push(error.hint)
      } else {
        // The way was open and the server failed: worth a line even if a later way works out.
        report(`${provider.name} failed: ${messageOf(error)}`)
      }
    }
  }
  throw new Unavailable(refusal(wish, refusals, hints))
}

async function checked(server: Server, wish: Wish): Promise<Server> {
  if (wish.flavours.includes(server.flavour) && meets(server.version, wish.version)) return server
  await server.stop()
  throw new Unavailable(`has ${server.flavour} ${server.version} (${server.source})`)
}

function refusal(wish: Wish, refusals: readonly string[], hints: readonly string[]): string {
  const lines = [`no ${describeWish(wish)} could be had. Tried:`]
  for (const text of refusals) lines.push(`  - ${text}`)
  if (hints.length > 0) lines.push('What would help, any one of:')
  for (const hint of hints) lines.push(`  - ${hint}`)
  return lines.join('\n')
}
