/** The process: `npx tsx main.ts`. SIGTERM and SIGINT let what is running end, and then end it. */
import { once } from 'node:events'
import type { Server } from 'node:http'
import { serve } from '@hono/node-server'
import { app } from './app.ts'
import { endPools, port } from './databases.ts'
import { openShop } from './shop.ts'

const shop = await openShop()
// One of HTTP/1: no other was asked for.
const server = serve({ fetch: app(shop).fetch, port, hostname: '127.0.0.1' }) as Server
await once(server, 'listening')
console.log(`listening on ${port}, log ${shop.logId}`)

await Promise.race([once(process, 'SIGTERM'), once(process, 'SIGINT')])
server.close()
// A connection that falls idle only now would keep the server open until its client lets go of it.
const sweep = setInterval(() => server.closeIdleConnections(), 50)
await once(server, 'close')
clearInterval(sweep)
await shop.close()
await endPools()
