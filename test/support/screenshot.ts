/**
 * Pictures of what a terminal shows, made from real runs: a test runs the command with its colours on, and
 * holds the picture to what it printed. `UNANIMOUS_REMAKE=1` draws the picture anew instead.
 */
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { stripVTControlCharacters } from 'node:util'
import stringWidth from 'string-width'
import { expect } from 'vitest'
import { ROOT } from '../../scripts/source-tree.ts'
import { form } from './transcript.ts'

const COLUMN = 8.4
const LINE = 20
const MARGIN = 16

/** Readable on white and on black, for the picture has a ground of its own. */
const STYLE = `text{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;fill:#d8dee9}
.bold{font-weight:700;fill:#fff}.red{fill:#f47067}.green{fill:#8ddb8c}.yellow{fill:#f0c674}.cyan{fill:#76d4e3}`

/** The codes that `Io.paint` writes: what begins a style, and what ends it. */
const BEGINS: Readonly<Record<string, string>> = {
  1: 'bold',
  31: 'red',
  32: 'green',
  33: 'yellow',
  36: 'cyan',
}
const ENDS: ReadonlySet<string> = new Set(['22', '39'])

/** An SVG of the text, whose colours are those of the terminal's codes. */
export function draw(text: string): string {
  const lines = text.replace(/\n$/, '').split('\n')
  const title = escaped((lines[0] ?? '').replace(/^\$ /, ''))
  const columns = Math.max(...lines.map((line) => stringWidth(line)))
  const width = Math.ceil(columns * COLUMN + 2 * MARGIN)
  const height = lines.length * LINE + 2 * MARGIN
  const body = lines.map((line, index) => {
    const y = MARGIN + index * LINE + 15
    // Columns stay under each other, whatever font the reader has.
    const length = (stringWidth(line) * COLUMN).toFixed(1)
    return `<text x="${MARGIN}" y="${y}" textLength="${length}" xml:space="preserve">${spans(line)}</text>`
  })
  return `${[
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img" aria-label="${title}">`,
    `<title>${title}</title>`,
    `<style>${STYLE}</style>`,
    `<rect width="${width}" height="${height}" rx="8" fill="#1c2128"/>`,
    ...body,
    '</svg>',
  ].join('\n')}\n`
}

function spans(line: string): string {
  const [first = '', ...rest] = line.split('\u001b[')
  let style: string | undefined
  const parts = rest.map((part) => {
    const end = part.indexOf('m')
    const code = part.slice(0, end)
    style = BEGINS[code] ?? (ENDS.has(code) ? undefined : style)
    const text = escaped(part.slice(end + 1))
    return style === undefined || text === '' ? text : `<tspan class="${style}">${text}</tspan>`
  })
  return escaped(first) + parts.join('')
}

function escaped(text: string): string {
  return stripVTControlCharacters(text)
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
}

/** Holds the picture to the run: words and colours, and no measure that follows from them. */
export async function expectPicture(path: string, text: string): Promise<void> {
  const file = join(ROOT, path)
  const drawn = draw(text)
  if (process.env['UNANIMOUS_REMAKE'] === '1') {
    await mkdir(dirname(file), { recursive: true })
    await writeFile(file, drawn)
    return
  }
  expect(unmeasured(await readFile(file, 'utf8'))).toBe(unmeasured(drawn))
}

function unmeasured(svg: string): string {
  return form(svg.replace(/ (?:x|y|width|height|viewBox|textLength)="[^"]*"/g, ''))
}
