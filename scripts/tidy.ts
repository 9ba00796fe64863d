/**
 * What no compiler and no linter sees: lengths, words that do not belong in the tree, the shape of
 * the change log, links that lead nowhere. Every rule here is one that a reviewer would otherwise
 * have to remember.
 */
import { posix } from 'node:path'
import { z } from 'zod'
import {
  type Finding,
  isMain,
  parseModule,
  readRepository,
  report,
  type SourceFile,
} from './source-tree.ts'
import { editsOf, TAKE_OUTS, without } from './take-out/all.ts'

export type TidyRule =
  | 'file-length'
  | 'function-length'
  | 'machine-path'
  | 'registry-host'
  | 'unfinished'
  | 'focused-test'
  | 'skipped-test'
  | 'changelog'
  | 'link'
  | 'lockfile'
  | 'take-out'

const MAX_FILE_LINES = 400
const MAX_FUNCTION_LINES = 70

const FUNCTIONS = ['FunctionDeclaration', 'FunctionExpression', 'ArrowFunctionExpression']

interface BannedWord {
  readonly rule: TidyRule
  readonly pattern: RegExp
  readonly message: string
  /** Where it counts; everywhere unless given. */
  readonly where?: RegExp
}

const BANNED: readonly BannedWord[] = [
  {
    rule: 'machine-path',
    pattern: /(?:(?<![\w.~/-])|file:\/\/)\/(?:root|work|home\/\w+|Users\/\w+)(?![\w:.-])/,
    message: 'a path that exists on one machine only',
  },
  {
    rule: 'registry-host',
    pattern: /registry\.(?:npmjs|yarnpkg)\.|deb\.debian\.|proxy\.golang\.|"resolved": *"http/,
    message: 'names the host of a package registry; the client knows it',
  },
  { rule: 'unfinished', pattern: /\b(?:TO[D]O|FIXM[E]|XX[X])\b/, message: 'finish it or drop it' },
  {
    rule: 'focused-test',
    pattern: /\b(?:it|test|describe|suite)\.only\b/,
    message: 'hides every other test of the file',
    where: /^test\//,
  },
  {
    rule: 'skipped-test',
    pattern: /\b(?:it|test|describe|suite)\.(?:skip|todo)\(|\bx(?:it|describe)\(/,
    message: 'a test that does not run proves nothing',
    where: /^test\//,
  },
]

export function tidyFindings(files: readonly SourceFile[]): Finding<TidyRule>[] {
  const paths = new Set(files.map((file) => file.path))
  return files.flatMap((file) => [
    ...lengths(file),
    ...bannedWords(file),
    ...(file.path === 'CHANGELOG.md' ? changelog(file) : []),
    ...(file.path.endsWith('.md') ? links(file, paths) : []),
    ...(file.path === 'package-lock.json' ? lockfile(file) : []),
    ...takeOuts(file),
  ])
}

function lengths(file: SourceFile): Finding<TidyRule>[] {
  if (!/^(?:src|adapters|scripts|examples|bench)\/.*\.ts$/.test(file.path)) return []
  const findings: Finding<TidyRule>[] = []
  const lines = file.text.split('\n').length - 1
  if (lines > MAX_FILE_LINES) {
    const message = `${lines} lines, at most ${MAX_FILE_LINES}`
    findings.push({ rule: 'file-length', path: file.path, line: lines, message })
  }
  const { walk, lineAt } = parseModule(file)
  walk((node) => {
    if (!FUNCTIONS.includes(node.type)) return
    const line = lineAt(node.start)
    const length = lineAt(node.end) - line + 1
    if (length <= MAX_FUNCTION_LINES) return
    const message = `a function of ${length} lines, at most ${MAX_FUNCTION_LINES}`
    findings.push({ rule: 'function-length', path: file.path, line, message })
  })
  return findings
}

/** What is gone from the file, or stands there twice, cannot be taken out by `npm run test:takeout`. */
function takeOuts({ path, text }: SourceFile): Finding<TidyRule>[] {
  return TAKE_OUTS.flatMap((one) =>
    editsOf(one)
      .filter((edit) => edit.file === path && without(edit, text) === undefined)
      .map(({ from }) => ({
        rule: 'take-out',
        path,
        line: 1,
        message: `${one.trap} (${one.what}) takes out what does not stand here once: ${from}`,
      })),
  )
}

function bannedWords(file: SourceFile): Finding<TidyRule>[] {
  const banned = BANNED.filter(({ where }) => where === undefined || where.test(file.path))
  return file.text
    .split('\n')
    .flatMap((text, index) =>
      banned
        .filter(({ pattern }) => pattern.test(text))
        .map(({ rule, message }) => ({ rule, path: file.path, line: index + 1, message })),
    )
}

const SECTIONS = ['Added', 'Changed', 'Deprecated', 'Removed', 'Fixed', 'Security']
const RELEASE = /^## \[(\d+\.\d+\.\d+(?:-[\w.]+)?)\] - (\d{4}-\d{2}-\d{2})$/

/** Keep a Changelog: a title, Unreleased first, then dated releases, newest first. */
function changelog({ path, text }: SourceFile): Finding<TidyRule>[] {
  const findings: Finding<TidyRule>[] = []
  const find = (line: number, message: string): void => {
    findings.push({ rule: 'changelog', path, line, message })
  }
  const lines = text.split('\n')
  if (lines[0] !== '# Changelog') find(1, 'the title is "# Changelog"')
  const headings = [...lines.entries()].filter(([, line]) => /^#{2,3} /.test(line))
  if (headings[0]?.[1] !== '## [Unreleased]') find(1, 'the first section is "## [Unreleased]"')
  let newer = '9999-99-99'
  for (const [index, heading] of headings.slice(1)) {
    const date = RELEASE.exec(heading)?.[2]
    if (heading.startsWith('### ')) {
      if (!SECTIONS.includes(heading.slice(4))) find(index + 1, `no such section: ${heading}`)
    } else if (date === undefined) {
      find(index + 1, 'a release reads "## [1.2.3] - 2030-01-31"')
    } else {
      if (date > newer) find(index + 1, 'releases stand newest first')
      newer = date
    }
  }
  return findings
}

/** Links to files of this repository, in text and in reference definitions. */
function links(file: SourceFile, paths: ReadonlySet<string>): Finding<TidyRule>[] {
  const findings: Finding<TidyRule>[] = []
  let fenced = false
  for (const [index, line] of file.text.split('\n').entries()) {
    if (/^\s*(?:```|~~~)/.test(line)) fenced = !fenced
    if (fenced) continue
    for (const link of linksOf(line)) {
      if (leadsSomewhere(file.path, link, paths)) continue
      const message = `leads nowhere: ${link}`
      findings.push({ rule: 'link', path: file.path, line: index + 1, message })
    }
  }
  return findings
}

function linksOf(line: string): string[] {
  const prose = line.replace(/`[^`]*`/g, '')
  const inline = [...prose.matchAll(/\]\(\s*<?([^)\s>]+)>?[^)]*\)/g)]
  const references = [...prose.matchAll(/^\[[^\]]+\]:\s*(\S+)/g)]
  const images = [...prose.matchAll(/<(?:img|a)\s[^>]*(?:src|href)="([^"]+)"/g)]
  return [...inline, ...references, ...images].flatMap((match) => match[1] ?? [])
}

function leadsSomewhere(from: string, link: string, paths: ReadonlySet<string>): boolean {
  if (/^(?:[a-z][a-z+.-]*:|#)/i.test(link)) return true
  const bare = decodeURI(link.replace(/[#?].*$/, ''))
  const target = posix.join(bare.startsWith('/') ? '' : posix.dirname(from), bare)
  const folder = target === '.' ? '' : `${target.replace(/\/$/, '')}/`
  return paths.has(target) || [...paths].some((path) => path.startsWith(folder))
}

const Lockfile = z.object({
  packages: z.record(
    z.string(),
    z.object({ optionalDependencies: z.record(z.string(), z.string()).optional() }),
  ),
})

/**
 * `npm ci` refuses a lock file that lacks a package for some other platform, and npm 11 writes such
 * a file without a word when the registry it asked does not have that package.
 */
function lockfile({ path, text }: SourceFile): Finding<TidyRule>[] {
  const { packages } = Lockfile.parse(JSON.parse(text))
  const places = Object.keys(packages)
  return places.flatMap((place) =>
    Object.keys(packages[place]?.optionalDependencies ?? {})
      .filter((name) => !places.some((each) => each.endsWith(`node_modules/${name}`)))
      .map((name) => {
        const message = `${place} wants ${name}, which has no entry: npm ci would fail`
        return { rule: 'lockfile' as const, path, line: 1, message }
      }),
  )
}

if (isMain(import.meta.url)) {
  const files = readRepository()
  report('tidy', tidyFindings(files), files.length)
}
