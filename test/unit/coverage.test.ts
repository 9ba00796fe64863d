import { describe, expect, it } from 'vitest'
import { branchesOf, judge, type RawCoverage } from '../../scripts/branch-coverage/judge.ts'

const TEXT = ['const a = b ?? 0', '  if (c) return', 'const d = e ?? 0'].join('\n')

/** Three branches of two ways each, of which some were taken. */
function measured(...taken: readonly (readonly [number, number])[]) {
  const one = (line: number, type: string) => ({
    type,
    loc: { start: { line } },
    // The way that is not written has no place of its own.
    locations: [{ start: { line } }, type === 'if' ? {} : { start: { line } }],
  })
  const raw: RawCoverage = {
    '/project/src/a.ts': {
      branchMap: { '0': one(1, 'binary-expr'), '1': one(2, 'if'), '2': one(3, 'binary-expr') },
      b: Object.fromEntries(taken.map((counts, at) => [String(at), counts])),
    },
  }
  return branchesOf(raw, '/project', () => TEXT)
}

const gap = { file: 'src/a.ts', code: 'b ?? 0', reason: 'always there' }

describe('branches that no test takes', () => {
  it('are told with their line, unless they have a reason', () => {
    const branches = measured([1, 0], [4, 0], [1, 1])
    expect(judge(branches, [gap])).toEqual({
      taken: 4,
      explained: 1,
      complaints: ['not taken   src/a.ts:2 if[1]  if (c) return'],
    })
  })

  it('have no reason any more once a test takes them', () => {
    const { complaints } = judge(measured([1, 1], [1, 1], [1, 1]), [gap])
    expect(complaints).toEqual([
      'listed      src/a.ts: b ?? 0: 1 expected not to be taken, 0 found',
    ])
  })

  it('are not more than the reason says', () => {
    const all = { ...gap, code: '?? 0' }
    expect(judge(measured([1, 0], [1, 1], [1, 0]), [all]).complaints).toHaveLength(1)
    expect(judge(measured([1, 0], [1, 1], [1, 0]), [{ ...all, branches: 2 }]).complaints).toEqual(
      [],
    )
  })
})
