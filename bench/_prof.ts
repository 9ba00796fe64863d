import { Session } from 'node:inspector/promises'
import { mkdtempSync, writeFileSync } from 'node:fs'
import { createPool } from 'mysql2/promise'
import pg from 'pg'
import { Coordinator } from 'unanimous'
import { mysql } from 'unanimous/mysql2'
import { postgres } from 'unanimous/pg'
import { prepareMany, Unsettled, timeOf } from '../test/support/many-unsettled.ts'
import { createDatabase, startMysqlFamily, startPostgres } from '../test/support/servers/index.ts'
const n = 1500
const P = await startPostgres({}, { settings: [`max_prepared_transactions=${2*n + 100}`, 'max_connections=100'] })
const M = await startMysqlFamily({}, {})
const folder = mkdtempSync('/tmp/prof/x-')
const urls = [await createDatabase(P, 'b'), await createDatabase(M, 'b')] as const
const u = await Unsettled.open(folder, ...urls)
await prepareMany(u, n, 'logged')
const bare = await prepareMany(u, n, 'bare')
const b1 = await timeOf(() => u.settleBare(bare.slice(0, n / 2)))
const ledger = new pg.Pool({ connectionString: urls[0] }); const shop = createPool({ uri: urls[1] })
const s = new Session(); s.connect(); await s.post('Profiler.enable'); await s.post('Profiler.start')
const t0 = performance.now(); const cpu = process.cpuUsage()
const seen: number[] = []
const c = await Coordinator.open({ log: { directory: u.log.directory, allowUnsafeFileSystem: true }, participants: { ledger: postgres(ledger), shop: mysql(shop) }, recoverMs: 600000 })
const t1 = performance.now(); const used = process.cpuUsage(cpu)
const { profile } = await s.post('Profiler.stop')
writeFileSync('/tmp/prof/p.cpuprofile', JSON.stringify(profile))
const cpu2 = process.cpuUsage()
const b2 = await timeOf(() => u.settleBare(bare.slice(n / 2)))
const used2 = process.cpuUsage(cpu2)
console.log('ours ms', t1 - t0, 'cpu', (used.user + used.system) / 1000, 'bare ms', b1 + b2, 'bare half cpu', (used2.user + used2.system) / 1000)
await c.close(); await ledger.end(); await shop.end(); await u.close(); await P.stop(); await M.stop()
const self = new Map<string, number>()
const byId = new Map(profile.nodes.map((x) => [x.id, x]))
profile.samples!.forEach((id, i) => { const { callFrame: f } = byId.get(id)!; const k = `${f.functionName} ${f.url.split('/').slice(-3).join('/')}:${f.lineNumber}`; self.set(k, (self.get(k) ?? 0) + (profile.timeDeltas![i] ?? 0)) })
for (const [k, v] of [...self].sort((a, b) => b[1] - a[1]).slice(0, 40)) console.log((v / 1000).toFixed(1).padStart(9), k)
