/**
 * The shop over HTTP.
 *
 *   POST /purchases        { customer, item, quantity }, with an Idempotency-Key
 *   GET  /purchases/<id>
 *
 * What became of a transaction, as an HTTP status:
 *
 *   committed                      201, and the same 201 for the same key
 *   rolled back, by a Refusal      404, 409 or 422: asking again does not help
 *   rolled back, may not come again; in doubt
 *                                  503 and Retry-After: ask again, with the same key
 *   anything else                  500
 */
import { type Context, Hono } from 'hono'
import { TransactionError } from 'unanimous'
import { z } from 'zod'
import { Refusal } from './refusal.ts'
import type { Shop } from './shop.ts'

const Key = z.string().regex(/^[\x21-\x7e]{1,64}$/)
const Id = z.int().positive()
const Body = z.object({ customer: Id, item: Id, quantity: Id.max(100) })

export function app(shop: Shop): Hono {
  return new Hono()
    .post('/purchases', async (c) => {
      const key = Key.parse(c.req.header('Idempotency-Key'))
      const order = Body.parse(await c.req.json())
      return c.body(await shop.buy(key, order), 201, { 'Content-Type': 'application/json' })
    })
    .get('/purchases/:id', async (c) => {
      const purchase = await shop.find(c.req.param('id'))
      if (purchase === undefined) throw new Refusal(404, 'there is no such purchase')
      return c.json(purchase)
    })
    .onError((error, c) => answerTo(error, c))
}

function answerTo(error: Error, c: Context): Response {
  if (error instanceof z.ZodError || error instanceof SyntaxError) {
    return c.json({ error: error.message }, 400)
  }
  if (error instanceof Refusal) return c.json({ error: error.message }, error.status)
  if (!(error instanceof TransactionError)) return c.json({ error: 'internal' }, 500)
  const { outcome, retryable, cause, gtrid } = error
  if (outcome === 'rolled-back' && cause instanceof Refusal) return answerTo(cause, c)
  console.error(`${gtrid} ${outcome}: ${error.message}`)
  if (outcome === 'in-doubt' || (outcome === 'rolled-back' && retryable)) {
    return c.json({ error: 'ask again with the same key' }, 503, { 'Retry-After': '1' })
  }
  return c.json({ error: 'internal', gtrid }, 500)
}
