/**
 * OpenTelemetry spans of every transaction, from the channels that `unanimous` publishes on. The library
 * itself depends on no telemetry: this file is all that joins the two.
 *
 *   transfer                     unanimous.transaction, under whatever span is active around it
 *   ├─ prepare accounts          a branch's vote
 *   ├─ prepare wallets
 *   ├─ decide                    the commit record
 *   ├─ settle accounts           COMMIT PREPARED
 *   └─ settle wallets            XA COMMIT
 *   recover accounts             a pass of recovery that found something to do
 */
import { type TracingChannelSubscribers, tracingChannel } from 'node:diagnostics_channel'
import {
  type Attributes,
  context,
  type Span as OtelSpan,
  SpanKind,
  SpanStatusCode,
  type Tracer,
  trace,
} from '@opentelemetry/api'
import type { Phase, Span } from 'unanimous'

const PHASES: readonly Phase[] = ['transaction', 'prepare', 'decide', 'settle', 'recover']

/** Makes spans from here on; answers what ends that. */
export function traceTransactions(tracer: Tracer): () => void {
  const transactions = new Map<string, OtelSpan>()
  const open = new WeakMap<object, OtelSpan>()
  const endings = PHASES.map((phase) => {
    const channel = tracingChannel<unknown, Span>(`unanimous:${phase}`)
    const subscribers: Partial<TracingChannelSubscribers<Span>> = {
      start(span) {
        // Recovery looks every few seconds; only what it does is worth a span, and that has one of its own.
        if (phase === 'recover') return
        const transaction = transactions.get(span.gtrid ?? '')
        const around = context.active()
        const parent = transaction === undefined ? around : trace.setSpan(around, transaction)
        const made = tracer.startSpan(
          nameOf(phase, span),
          { kind: SpanKind.CLIENT, attributes: attributesOf(span) },
          parent,
        )
        open.set(span, made)
        if (phase === 'transaction' && span.gtrid !== undefined) transactions.set(span.gtrid, made)
      },
      error(span) {
        open.get(span)?.setStatus({ code: SpanStatusCode.ERROR, message: span.code ?? 'failed' })
      },
      asyncEnd(span) {
        const made = open.get(span)
        made?.setAttributes(attributesOf(span))
        made?.end()
        if (phase === 'transaction') transactions.delete(span.gtrid ?? '')
      },
    }
    // The type asks for all five, the function takes any.
    channel.subscribe(subscribers as TracingChannelSubscribers<Span>)
    return () => channel.unsubscribe(subscribers as TracingChannelSubscribers<Span>)
  })
  return () => {
    for (const end of endings) end()
  }
}

function nameOf(phase: Phase, { name, participant }: Span): string {
  if (phase === 'transaction') return name ?? 'transaction'
  return participant === undefined ? phase : `${phase} ${participant}`
}

/** Ids, names and codes: there is nothing else in a span. */
function attributesOf(span: Span): Attributes {
  return Object.fromEntries(
    Object.entries(span)
      .filter(([key, value]) => key !== 'error' && key !== 'result' && value !== undefined)
      .map(([key, value]) => [`unanimous.${key}`, value as string | number | boolean]),
  )
}
