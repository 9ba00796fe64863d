/** `tsx main.ts postgres|mariadb|mysql [version]`: starts a server and prints its URL until Ctrl-C. */
import { startMysqlFamily, startPostgres } from './index.ts'
import { messageOf } from './server.ts'

const [flavour, version] = process.argv.slice(2)
const options = { report: (line: string): void => console.error(line) }

try {
  if (flavour === 'postgres') await serve(startPostgres({ version }, options))
  else if (flavour === 'mariadb' || flavour === 'mysql') {
    await serve(startMysqlFamily({ flavour, version }, options))
  } else {
    console.error('usage: tsx test/support/servers/main.ts postgres|mariadb|mysql [version]')
    process.exitCode = 2
  }
} catch (error) {
  console.error(messageOf(error))
  process.exitCode = 1
}

async function serve(starting: ReturnType<typeof startPostgres>): Promise<void> {
  const server = await starting
  console.log(server.url)
  await new Promise((resolve) => {
    // Signals alone do not keep a process. Ended in another way, the guardian removes the server.
    const alive = setInterval(() => undefined, 60_000)
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      process.once(signal, () => resolve(clearInterval(alive)))
    }
  })
  await server.stop()
}
