/**
 * Transcripts in the documents, made from real runs: a test runs the commands, and holds what they
 * print to what the page shows. `UNANIMOUS_REMAKE=1` writes the page anew instead.
 *
 *   <!-- transcript: night -->
 *   ```console
 *   $ unanimous status
 *   …
 *   (exit 3)
 *   ```
 *
 * Ids, times, ages, versions, ports and paths are of the run: they are compared by their form.
 */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect } from 'vitest'
import { ROOT } from '../../scripts/source-tree.ts'
import type { CliProject } from './cli-project.ts'

export class Transcript {
  readonly #project: CliProject
  #text = ''

  constructor(project: CliProject) {
    this.#project = project
  }

  get text(): string {
    return this.#text
  }

  /** Runs a command and notes it with what it printed, to whichever stream, and its exit code. */
  async run(...args: readonly string[]): Promise<number | null> {
    const { code, out, err } = await this.#project.cli(...args)
    const words = args.map((word) => (/[\s']/.test(word) ? JSON.stringify(word) : word))
    this.note(`$ unanimous ${words.join(' ')}\n${out}${err}(exit ${code})`)
    return code
  }

  /** What else happens, as a shell would show it. */
  note(line: string): void {
    this.#text += `${published(line, this.#project.folder)}\n`
  }

  /** Holds the page to the run. */
  async expectIn(page: string, name: string): Promise<void> {
    const path = join(ROOT, page)
    const text = await readFile(path, 'utf8')
    const block = new RegExp(
      `(<!-- transcript: ${name} -->\n\`\`\`console\n)([\\s\\S]*?)(\`\`\`\n)`,
    )
    const shown = block.exec(text)?.[2]
    expect(shown, `${page} has a transcript ${name}`).toBeDefined()
    if (process.env['UNANIMOUS_REMAKE'] === '1') {
      const remade = text.replace(
        block,
        (_, head: string, __, tail: string) => `${head}${this.#text}${tail}`,
      )
      await writeFile(path, remade)
      return
    }
    expect(form(shown ?? '')).toBe(form(this.#text))
  }
}

/** What a page may show of a run on some machine; as long as the run's own, so that columns stay. */
export function published(text: string, folder: string): string {
  return text
    .replaceAll(folder, '/srv/pay')
    .replace(/una1-[0-9a-hjkmnp-tv-z]{16}/g, 'una1-49c9tnn9bmwy16hm')
    .replace(/\b([0-9a-z]{1,3})\.[0-9a-hjkmnp-tv-z]{8}-/g, '$1.5rp2crx8-')
    .replace(/127\.0\.0\.1:\d+/g, '127.0.0.1:3306')
    .replace(/\b(by|as) \S+ on \S+: /g, '$1 alice on pay-1: ')
    .replace(/held by process \d+ on \S+ since/g, 'held by process 4121 on pay-1 since')
    .replace(/process \d+ on (?!pay-1)\S+/g, 'process 4121 on pay-1')
    .replace(/\btest_[0-9a-f]{12}\b/g, 'pay')
    .replace(/ +$/gm, '')
}

/** What two runs have in common. */
export function form(text: string): string {
  return (
    text
      .replace(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, 'TIME')
      .replace(/\b(?:\d+ms|\d+s|\d+m\d\ds|\d+h\d\dm|\d+d\d\dh)\b/g, 'AGE')
      .replace(/\bPostgreSQL [\d.]+/g, 'PostgreSQL')
      .replace(/\b(?:MySQL|MariaDB) [\d.]+/g, 'MySQL')
      .replace(/\b(shop)\.\d+\b/g, '$1.N')
      .replace(/segment-\d+\.log/g, 'segment-N.log')
      .replace(/\b(?:offset|batch) \d+/g, 'offset N')
      .replace(/\b[0-9a-z]{1,3}\.5rp2crx8-[0-9a-z]+/g, 'ID')
      .replace(/\b\d+ locks\b/g, 'N locks')
      .replace(/ {2,}/g, '  ')
      // Two databases answer in whichever order.
      .replace(/(?:^ {2}TIME .*\n)+/gm, (lines) => lines.split('\n').toSorted().join('\n'))
  )
}
