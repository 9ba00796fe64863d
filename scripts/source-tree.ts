/**
 * The files of this repository as the checks see them: a list of paths and texts, read from disk
 * by the command line and written by hand in the tests.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Node, parseSync, visitorKeys } from 'oxc-parser'

export interface SourceFile {
  /** From the root of the repository, with forward slashes. */
  readonly path: string
  readonly text: string
}

export interface Finding<Rule extends string> {
  readonly rule: Rule
  readonly path: string
  /** From 1. */
  readonly line: number
  readonly message: string
}

export interface ParsedModule {
  readonly module: ReturnType<typeof parseSync>['module']
  /** Calls `visit` for every node, parents first. */
  readonly walk: (visit: (node: Node, parent: Node | undefined) => void) => void
  readonly lineAt: (offset: number) => number
}

export const ROOT: string = fileURLToPath(new URL('..', import.meta.url))

const BINARY = /\.(?:png|gif|ico|bin|tgz|gz|wasm)$/

/** What git tracks, or would track after `git add`: what a clone of the next commit will hold. */
export function readRepository(root: string = ROOT): SourceFile[] {
  const listed = execFileSync('git', ['ls-files', '-z', '-co', '--exclude-standard'], {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
  })
  return [...new Set(listed.split('\0'))]
    .filter((path) => path !== '' && !BINARY.test(path) && existsSync(join(root, path)))
    .sort()
    .map((path) => ({ path, text: readFileSync(join(root, path), 'utf8') }))
}

export function parseModule(file: SourceFile): ParsedModule {
  const { program, module, errors } = parseSync(file.path, file.text)
  const error = errors[0]
  if (error !== undefined) throw new Error(`${file.path} does not parse: ${error.message}`)
  return {
    module,
    walk: (visit) => walk(program, undefined, visit),
    lineAt: lineFinder(file.text),
  }
}

function walk(
  node: Node,
  parent: Node | undefined,
  visit: (node: Node, parent: Node | undefined) => void,
): void {
  visit(node, parent)
  const children = new Map<string, unknown>(Object.entries(node))
  for (const key of visitorKeys[node.type] ?? []) {
    for (const child of [children.get(key)].flat()) {
      if (isNode(child)) walk(child, node, visit)
    }
  }
}

function isNode(value: unknown): value is Node {
  return typeof value === 'object' && value !== null && 'type' in value
}

function lineFinder(text: string): (offset: number) => number {
  const starts = [0]
  for (const match of text.matchAll(/\n/g)) starts.push(match.index + 1)
  return (offset) => starts.findLastIndex((start) => start <= offset) + 1
}

/** Prints the findings and sets the exit code; the last line carries the figures. */
export function report(check: string, findings: readonly Finding<string>[], files: number): void {
  for (const finding of findings) {
    console.error(`${finding.path}:${finding.line} [${finding.rule}] ${finding.message}`)
  }
  console.log(`${check}: ${files} files, ${findings.length} findings`)
  if (findings.length > 0) process.exitCode = 1
}

/** True when the module is what the command line runs, false when a test imports it. */
export function isMain(moduleUrl: string): boolean {
  return process.argv[1] === fileURLToPath(moduleUrl)
}
