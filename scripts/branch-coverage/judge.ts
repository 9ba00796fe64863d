/** Compares the branches that a run took with the list of those that it need not take. */
import { relative } from 'node:path'

/** What istanbul's JSON says of a file, as far as branches go. Lines are counted from 1. */
export interface RawFile {
  readonly branchMap: Readonly<Record<string, RawBranch>>
  readonly b: Readonly<Record<string, readonly number[]>>
}

interface RawBranch {
  readonly type: string
  readonly loc: { readonly start: { readonly line: number } }
  /** One for each way; an `else` that is not written has no place of its own. */
  readonly locations: readonly { readonly start?: { readonly line?: number } }[]
}

export type RawCoverage = Readonly<Record<string, RawFile>>

export interface Branch {
  /** From the root of the repository. */
  readonly file: string
  readonly line: number
  /** The line's text, without its indentation. */
  readonly text: string
  /** Which way of which construct: `if[1]` is the else. */
  readonly way: string
  readonly taken: boolean
}

/** Branches that no test without a server can take, and why they are there. */
export interface Gap {
  readonly file: string
  /** A part of the line, enough to tell it from the others of the file. */
  readonly code: string
  /** How many branches of such lines are not taken. Default: 1. */
  readonly branches?: number
  readonly reason: string
}

export interface Verdict {
  readonly taken: number
  readonly explained: number
  /** A line each. */
  readonly complaints: readonly string[]
}

export function branchesOf(
  raw: RawCoverage,
  root: string,
  read: (path: string) => string,
): readonly Branch[] {
  return Object.entries(raw).flatMap(([path, { branchMap, b }]) => {
    const lines = read(path).split('\n')
    return Object.entries(branchMap).flatMap(([key, { type, loc, locations }]) =>
      (b[key] ?? []).map((count, at) => {
        const line = locations[at]?.start?.line ?? loc.start.line
        return {
          file: relative(root, path),
          line,
          text: (lines[line - 1] ?? '').trim(),
          way: `${type}[${at}]`,
          taken: count > 0,
        }
      }),
    )
  })
}

export function judge(branches: readonly Branch[], gaps: readonly Gap[]): Verdict {
  const missed = branches.filter(({ taken }) => !taken)
  const explained = new Set<Branch>()
  const complaints: string[] = []
  for (const { file, code, branches: expected = 1 } of gaps) {
    const found = missed.filter((branch) => branch.file === file && branch.text.includes(code))
    for (const branch of found) explained.add(branch)
    if (found.length === expected) continue
    complaints.push(
      `listed      ${file}: ${code}: ${expected} expected not to be taken, ${found.length} found`,
    )
  }
  for (const branch of missed) {
    if (explained.has(branch)) continue
    const { file, line, way, text } = branch
    complaints.push(`not taken   ${file}:${line} ${way}  ${text}`)
  }
  return {
    taken: branches.length - missed.length,
    explained: explained.size,
    complaints,
  }
}
