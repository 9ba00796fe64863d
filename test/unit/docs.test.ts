/** That what the documents show is run; how, see test/support/docs.ts. */
import { describe, expect, it } from 'vitest'
import { readRepository } from '../../scripts/source-tree.ts'
import { blocksOf } from '../support/docs.ts'

const files = readRepository()

describe('the documents', () => {
  const pages = files.filter(
    ({ path, text }) =>
      path.endsWith('.md') &&
      blocksOf(text).some(({ language, file }) => language === 'ts' || file !== undefined),
  )

  it.each(pages.map(({ path }) => [path]))('the code of %s is run by a test', (path) => {
    const tests = files.filter((file) => file.path.startsWith('test/docs/'))
    expect(tests.some(({ text }) => text.includes(`openPage('${path}'`))).toBe(true)
  })

  it('a block knows its language, its file and its line', () => {
    const page = '# Title\n\n```ts\nconst a = 1\n```\n\n```js x.mjs\nb\nc\n```\n```\nplain\n```\n'
    expect(blocksOf(page)).toEqual([
      { language: 'ts', file: undefined, code: 'const a = 1\n', line: 4 },
      { language: 'js', file: 'x.mjs', code: 'b\nc\n', line: 8 },
    ])
  })
})
