/**
 * The code on a page of the documents, run as a reader would run it: the unnamed `ts` blocks of a page
 * are one program, in the order of the page, compiled strictly and run against real servers. A block
 * with a file's name behind its language (```` ```js unanimous.config.mjs ````) is that file, beside it.
 *
 * A page shows what matters and leaves out the rest; the test gives what it left out.
 */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll } from 'vitest'
import { type CommandResult, runCommand } from '../../scripts/run-command.ts'
import { ROOT } from '../../scripts/source-tree.ts'

export interface Block {
  readonly language: string
  /** The file that it is; `undefined`: a part of the page's program. */
  readonly file: string | undefined
  readonly code: string
  /** Of its first line of code, from 1. */
  readonly line: number
}

/** What the page leaves out of its program. */
export interface Frame {
  readonly before?: string
  readonly after?: string
  /** Modules that it imports, by their names. */
  readonly modules?: Readonly<Record<string, string>>
}

export interface Page {
  readonly blocks: readonly Block[]
  /** The whole output of the page's program. @throws unless it compiles and exits with 0 */
  run(frame?: Frame): Promise<string>
  /** A command of the command line, beside the program. */
  unanimous(...words: readonly string[]): Promise<CommandResult>
}

const FENCE = /^```(\w+)(?: (\S+))?\n([\s\S]*?)^```$/gm
const LIMIT_MS = 110_000
/** As a careful user's; that a block's results are used elsewhere, if at all, is the page's affair. */
const COMPILER = {
  extends: '../tsconfig.json',
  compilerOptions: {
    noUnusedLocals: false,
    noPropertyAccessFromIndexSignature: false,
  },
  include: ['*.ts'],
}

/**
 * Call at the top of a test file.
 *
 * @param path - of the page, from the root of the repository
 * @param environment - of its programs: LEDGER_URL and SHOP_URL, by the pages' custom
 */
export async function openPage(
  path: string,
  environment: Readonly<Record<string, string>>,
): Promise<Page> {
  const blocks = blocksOf(await readFile(join(ROOT, path), 'utf8'))
  // Inside the project, so that `unanimous` and the drivers resolve as in a user's own.
  const folder = await mkdtemp(join(ROOT, '.docs-'))
  afterAll(() => rm(folder, { recursive: true, force: true }))
  await writeFile(join(folder, 'tsconfig.json'), JSON.stringify(COMPILER))
  for (const { file, code } of blocks) {
    if (file !== undefined) await writeFile(join(folder, file), code)
  }
  const options = { cwd: folder, env: environment, timeoutMs: LIMIT_MS }
  const node = (...words: readonly string[]): Promise<CommandResult> =>
    runCommand(process.execPath, ['--import', 'tsx', ...words], options)
  return {
    blocks,
    async run({ before = '', after = '', modules = {} } = {}) {
      const program = blocks.filter(({ language, file }) => language === 'ts' && file === undefined)
      // A page without a block would pass whatever it says.
      if (program.length === 0) throw new Error(`${path} has no block of ts`)
      const parts = program.map(({ line, code }) => `// ${path}:${line}\n${code}`)
      await writeFile(join(folder, 'program.ts'), [before, ...parts, after].join('\n'))
      for (const [name, text] of Object.entries(modules)) await writeFile(join(folder, name), text)
      const compiled = await runCommand('tsc', ['-p', folder, '--pretty', 'false'], options)
      if (!compiled.passed) throw new Error(`${path} does not compile:\n${compiled.output}`)
      const ran = await node('program.ts')
      if (!ran.passed) throw new Error(`${path} does not run:\n${ran.output}`)
      return ran.output
    },
    unanimous: (...words) => node(join(ROOT, 'src/cli/main.ts'), ...words),
  }
}

export function blocksOf(text: string): Block[] {
  return [...text.matchAll(FENCE)].map(({ 1: language = '', 2: file, 3: code = '', index }) => ({
    language,
    file,
    code,
    line: text.slice(0, index).split('\n').length + 1,
  }))
}
