/**
 * Makes a few transfers and prints their spans, one a line: name, what it is under, duration, attributes.
 *
 *   ACCOUNTS_URL WALLETS_URL DECISIONS    as in ../transfer
 */
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  SimpleSpanProcessor,
} from '@opentelemetry/sdk-trace-base'
import { DECISIONS, openPools, setting } from '../transfer/environment.ts'
import { openBank, transfer } from '../transfer/transfer.ts'
import { traceTransactions } from './spans.ts'

const exporter = new InMemorySpanExporter()
const provider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] })
const stopTracing = traceTransactions(provider.getTracer('unanimous'))

const pools = openPools()
const bank = await openBank(pools.accounts, pools.wallets, { log: setting(DECISIONS) })
const run = Date.now().toString(36)
await transfer(bank, { id: `${run}-1`, from: { account: 1 }, to: { wallet: 1 }, amount: 100 })
await transfer(bank, {
  id: `${run}-2`,
  from: { account: 2 },
  to: { wallet: 2 },
  amount: 1_000_000_000,
}).catch(() => undefined)
await bank.close()
await pools.close()
stopTracing()

const spans = exporter.getFinishedSpans()
const names = new Map(spans.map((span) => [span.spanContext().spanId, span.name]))
for (const span of spans) {
  const under = names.get(span.parentSpanContext?.spanId ?? '') ?? null
  const ms = span.duration[0] * 1_000 + span.duration[1] / 1_000_000
  console.log(
    JSON.stringify({ span: span.name, under, ms: Math.round(ms * 10) / 10, ...span.attributes }),
  )
}
